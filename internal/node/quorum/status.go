package quorum

import (
	"cmp"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"

	"github.com/moldau/moldau"
)

// Status is what DescribeQuorum tells (C-13).
type Status struct {
	Leader  *Voter // nil where none is known
	Epoch   moldau.LeaderEpoch
	Leading bool // this replica leads and has applied everything of the leaders before

	Start, End    moldau.Offset // of this replica's log; what is before Start is in a checkpoint
	HighWatermark moldau.Offset // behind the last committed entry that this replica knows of

	Voters []VoterStatus // sorted by node and directory

	CommandsWaiting, CommandsMax int
}

// VoterStatus is how far a voter is. Only the leader knows; on others, and for a voter not heard of, End and times are -1.
type VoterStatus struct {
	Voter
	End          moldau.Offset
	LastFetch    moldau.Timestamp // when it was last heard of
	LastCaughtUp moldau.Timestamp // when it was last heard of and had everything
}

// peerTimes is what the leader remembers of a replica.
type peerTimes struct {
	directory             moldau.DirectoryID
	lastFetch, lastCaught moldau.Timestamp
}

// Status tells the state as of the loop's latest round. It may be called from any goroutine.
func (q *Quorum) Status() Status {
	s := *q.status.Load()
	s.Voters = slices.Clone(s.Voters)
	if s.Leading { // a leader is up to date with itself at any time
		now := moldau.Timestamp(q.o.Env.Clock.Now().UnixMilli())
		for i := range s.Voters {
			if s.Voters[i].Directory == q.o.Self.Directory {
				s.Voters[i].LastFetch, s.Voters[i].LastCaughtUp = now, now
			}
		}
	}
	s.CommandsWaiting = q.inbox.waiting()
	return s
}

// publish makes the state visible to Status.
func (q *Quorum) publish() {
	st := q.node.BasicStatus()
	s := &Status{
		Epoch: moldau.LeaderEpoch(st.GetTerm()), Leading: q.leading,
		Start: q.storage.snap.end(), End: q.o.Log.End(), HighWatermark: moldau.Offset(st.GetCommit()),
		CommandsMax: commandsMax,
	}
	for _, v := range q.state.voters {
		if raftID(v.Directory) == st.Lead {
			s.Leader = &v
		}
		s.Voters = append(s.Voters, VoterStatus{Voter: v, End: -1, LastFetch: moldau.NoTimestamp, LastCaughtUp: moldau.NoTimestamp})
	}
	slices.SortFunc(s.Voters, func(a, b VoterStatus) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), slices.Compare(a.Directory[:], b.Directory[:]))
	})
	if q.leading {
		q.describeVoters(s)
	}
	q.status.Store(s)
}

func (q *Quorum) describeVoters(s *Status) {
	q.node.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
		i := slices.IndexFunc(s.Voters, func(v VoterStatus) bool { return raftID(v.Directory) == id })
		if i < 0 {
			return
		}
		v := &s.Voters[i]
		if id == q.id {
			v.End = s.End
			return
		}
		if peer := q.peers[id]; peer != nil {
			v.End = moldau.Offset(pr.Match)
			if v.End >= s.End {
				peer.lastCaught = peer.lastFetch
			}
			v.LastFetch, v.LastCaughtUp = peer.lastFetch, peer.lastCaught
		}
	})
}

// heard notes that a replica has sent a message.
func (q *Quorum) heard(from moldau.DirectoryID) {
	id := raftID(from)
	peer := q.peers[id]
	if peer == nil {
		peer = &peerTimes{directory: from, lastCaught: moldau.NoTimestamp}
		q.peers[id] = peer
	}
	peer.lastFetch = moldau.Timestamp(q.o.Env.Clock.Now().UnixMilli())
}
