package quorum

import (
	"context"
	"fmt"
	"log/slog"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/moldau/moldau"
)

// Transport carries messages to the other replicas. They may be lost, doubled and overtake each other.
type Transport interface {
	// Send passes a message on to the replica in a directory, whose Receive is to get it. It does not block. message is
	// not modified afterwards by either side.
	// sent is told once, from any goroutine but not from within Send, whether the replica took it; it is never nil.
	Send(to moldau.DirectoryID, message []byte, sent func(error))
}

// Receive takes a message that the Transport of the replica in the directory from has sent; the caller vouches for the
// sender. It does not wait. message is not retained.
func (q *Quorum) Receive(from moldau.DirectoryID, message []byte) error {
	m := new(pb.Message)
	if err := proto.Unmarshal(message, m); err != nil {
		return fmt.Errorf("quorum: a message of %d bytes from the replica in %s cannot be read: %w", len(message), from, err)
	}
	if m.GetTo() != q.id || m.GetFrom() != raftID(from) || from == q.o.Self.Directory ||
		raft.IsLocalMsg(m.GetType()) || m.GetType() == pb.MsgProp {
		return fmt.Errorf("quorum: the replica in %s sent a message %v from %016x to %016x, which %s does not take",
			from, m.GetType(), m.GetFrom(), m.GetTo(), q.o.Self.Directory)
	}
	q.inbox.putMessage(letter{from, m})
	return nil
}

// send passes Raft's messages on. What cannot be sent is lost: Raft sends again.
func (q *Quorum) send(messages []*pb.Message) {
	for _, m := range messages {
		directory, ok := q.directory(m.GetTo())
		if !ok || q.o.Transport == nil {
			continue // it was a voter a moment ago
		}
		b, err := proto.Marshal(m)
		if err != nil {
			q.o.Logger.Error("a message to another replica of the metadata log cannot be encoded", "type", m.GetType().String(), "error", err)
			continue
		}
		q.o.Transport.Send(directory, b, q.sent(m))
	}
}

// sent makes the function that tells Raft what became of a message. Raft sends nothing else to a replica that gets a
// snapshot until it hears of its end.
func (q *Quorum) sent(m *pb.Message) func(error) {
	to, snapshot := m.GetTo(), m.GetType() == pb.MsgSnap
	return func(err error) {
		if err == nil && !snapshot {
			return
		}
		failed := err != nil
		report := &pb.Message{From: &to, Reject: &failed, Type: pb.MsgUnreachable.Enum()}
		if snapshot {
			report.Type = pb.MsgSnapStatus.Enum()
		}
		q.inbox.putMessage(letter{m: report})
	}
}

// step hands a message or a report to Raft.
func (q *Quorum) step(l letter) {
	switch m := l.m; m.GetType() {
	case pb.MsgUnreachable:
		q.node.ReportUnreachable(m.GetFrom())
	case pb.MsgSnapStatus:
		status := raft.SnapshotFinish
		if m.GetReject() {
			status = raft.SnapshotFailure
		}
		q.node.ReportSnapshot(m.GetFrom(), status)
	default:
		q.heard(l.from)
		if err := q.node.Step(m); err != nil {
			q.o.Logger.Debug("a message from another replica of the metadata log was refused",
				"type", m.GetType().String(), "from", l.from, "error", err)
		}
	}
}

// directory finds the replica that Raft knows by an id: a voter, or one that has sent something, as the leader has to a
// replica that is new and knows no voters yet.
func (q *Quorum) directory(id uint64) (moldau.DirectoryID, bool) {
	for _, v := range q.state.voters {
		if raftID(v.Directory) == id {
			return v.Directory, true
		}
	}
	if peer := q.peers[id]; peer != nil {
		return peer.directory, true
	}
	return moldau.DirectoryID{}, false
}

// raftLogger passes Raft's log on. What Raft does in the normal course of things is of interest to few.
type raftLogger struct{ log *slog.Logger }

func (l raftLogger) print(level slog.Level, v []any) {
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, "raft: "+fmt.Sprint(v...))
	}
}

func (l raftLogger) printf(level slog.Level, format string, v []any) {
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, "raft: "+fmt.Sprintf(format, v...))
	}
}

func (l raftLogger) Debug(v ...any)              { l.print(slog.LevelDebug, v) }
func (l raftLogger) Debugf(f string, v ...any)   { l.printf(slog.LevelDebug, f, v) }
func (l raftLogger) Info(v ...any)               { l.print(slog.LevelDebug, v) }
func (l raftLogger) Infof(f string, v ...any)    { l.printf(slog.LevelDebug, f, v) }
func (l raftLogger) Warning(v ...any)            { l.print(slog.LevelWarn, v) }
func (l raftLogger) Warningf(f string, v ...any) { l.printf(slog.LevelWarn, f, v) }
func (l raftLogger) Error(v ...any)              { l.print(slog.LevelError, v) }
func (l raftLogger) Errorf(f string, v ...any)   { l.printf(slog.LevelError, f, v) }
func (l raftLogger) Fatal(v ...any)              { panic("raft: " + fmt.Sprint(v...)) }
func (l raftLogger) Fatalf(f string, v ...any)   { panic("raft: " + fmt.Sprintf(f, v...)) }
func (l raftLogger) Panic(v ...any)              { panic("raft: " + fmt.Sprint(v...)) }
func (l raftLogger) Panicf(f string, v ...any)   { panic("raft: " + fmt.Sprintf(f, v...)) }
