package crash

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau/moldau/test/subject"
)

const (
	groupPartitions = 4
	groupRecords    = 60_000
)

// readings is what the members of a group have read and committed together. Each record bears its number as its value.
type readings struct {
	mu        sync.Mutex
	read      map[int]int              // how often each record was read
	committed [groupPartitions]int64   // the highest offset whose commit was acknowledged
	wrong     []string                 // the first few complaints
	begun     map[*kgo.Client]struct{} // members that have read something
}

func (r *readings) complain(format string, args ...any) {
	if len(r.wrong) < wrongMax {
		r.wrong = append(r.wrong, fmt.Sprintf(format, args...))
	}
}

// take notes records that a member has been given. None of them may lie below a commit that was acknowledged: who commits holds the
// partition, and who takes it over begins at what is committed.
func (r *readings) take(c *kgo.Client, records []*kgo.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begun[c] = struct{}{}
	for _, rec := range records {
		if done := r.committed[rec.Partition]; rec.Offset < done {
			r.complain("partition %d: offset %d is read, and %d was committed", rec.Partition, rec.Offset, done)
		}
		n, err := counter(rec.Value)
		if err != nil {
			r.complain("R3: partition %d has %.20q at offset %d", rec.Partition, rec.Value, rec.Offset)
		}
		r.read[n]++
	}
}

// acknowledged notes a commit.
func (r *readings) acknowledged(records []*kgo.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rec := range records {
		r.committed[rec.Partition] = max(r.committed[rec.Partition], rec.Offset+1)
	}
}

// progress is how many records were read, once that was by so many members, or by fewer until nothing is left.
func (r *readings) progress(members int) (read int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if read = len(r.read); len(r.begun) < members && read < groupRecords {
		return 0
	}
	return read
}

// member reads and commits, a few records at a time, until ctx is done; then it leaves the group.
func (r *readings) member(ctx context.Context, address, topic, group string) error {
	c, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(), kgo.Balancers(kgo.CooperativeStickyBalancer()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.SessionTimeout(time.Second), kgo.HeartbeatInterval(100*time.Millisecond), kgo.MetadataMinAge(20*time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }))
	if err != nil {
		return err
	}
	defer c.CloseAllowingRebalance()
	for ctx.Err() == nil {
		fetches := c.PollRecords(ctx, 20)
		if records := fetches.Records(); len(records) > 0 {
			r.take(c, records)
			if err := c.CommitRecords(ctx, records...); err == nil {
				r.acknowledged(records)
			} // else the group goes back to what is committed, or ctx is done
		}
		c.AllowRebalance()
		time.Sleep(2 * time.Millisecond) // so that the work lasts for all kills
	}
	return nil
}

// TestKillNineWithGroups kills the broker under the members of a group that read and commit, one of whom leaves for another after each
// restart: no commit that was acknowledged is lost (O1), and each record is read.
func TestKillNineWithGroups(t *testing.T) {
	if testing.Short() {
		t.Skip("kills and restarts a broker eight times")
	}
	b := subject.Start(t, t.TempDir(), "group.initial.rebalance.delay.ms=0", "group.min.session.timeout.ms=500")
	topic := subject.Topic(t, b.Address, groupPartitions)
	fill(t, b.Address, topic)
	r := &readings{read: map[int]int{}, begun: map[*kgo.Client]struct{}{}}
	group := "readers-of-" + topic

	var members sync.WaitGroup
	failed := make(chan error, 100)
	join := func() (leave context.CancelFunc) {
		ctx, cancel := context.WithCancel(t.Context())
		members.Go(func() { // ends with ctx
			if err := r.member(ctx, b.Address, topic, group); err != nil {
				failed <- err
			}
		})
		return cancel
	}
	leave := []context.CancelFunc{join(), join(), join()}
	const kills = 8
	for kill := range kills {
		want := (kill + 1) * groupRecords / (kills + 2)
		until(t, b, fmt.Sprintf("%d records are read, by %d members", want, 3+kill), func() bool { return r.progress(3+kill) >= want })
		b.Kill()
		r.mu.Lock()
		before := r.committed
		r.mu.Unlock()
		b.Restart(t)
		after := committed(t, b.Address, group, topic)
		for p, done := range before {
			if after[p] < done {
				t.Errorf("O1: kill %d: partition %d: %d was committed, and after the restart it is %d", kill+1, p, done, after[p])
			}
		}
		leave[0]()
		leave = append(leave[1:], join())
	}
	until(t, b, "all records are read", func() bool { return r.progress(0) == groupRecords })
	for _, cancel := range leave {
		cancel()
	}
	members.Wait()
	close(failed)
	for err := range failed {
		t.Error(err)
	}
	again := 0
	for _, times := range r.read {
		again += times - 1
	}
	t.Logf("%d kills, %d members, %d records, %d of them read again", kills, len(r.begun), len(r.read), again)
	for _, wrong := range r.wrong {
		t.Error(wrong)
	}
}

// fill writes the records that the group reads.
func fill(t *testing.T, address, topic string) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.DefaultProduceTopic(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var failed error
	var mu sync.Mutex
	for n := range groupRecords {
		c.Produce(t.Context(), &kgo.Record{Key: strconv.AppendInt(nil, int64(n), 10), Value: append(strconv.AppendInt(nil, int64(n), 10), ' ')}, func(_ *kgo.Record, err error) {
			mu.Lock()
			defer mu.Unlock()
			failed = errors.Join(failed, err)
		})
	}
	if err := c.Flush(t.Context()); err != nil || failed != nil {
		t.Fatal(err, failed)
	}
}

// committed is what the group has committed of each partition, 0 where that is nothing.
func committed(t *testing.T, address, group, topic string) (offsets [groupPartitions]int64) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(address))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	all, err := kadm.NewClient(c).FetchOffsets(ctx, group)
	if err == nil {
		err = all.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	for p := range offsets {
		if o, ok := all.Lookup(topic, int32(p)); ok {
			offsets[p] = o.At
		}
	}
	return offsets
}

// until waits for done.
func until(t *testing.T, b *subject.Broker, what string, done func() bool) {
	t.Helper()
	for begun := time.Now(); !done(); time.Sleep(time.Millisecond) {
		switch {
		case !b.Alive():
			t.Fatalf("the broker ended by itself before %s", what)
		case time.Since(begun) > time.Minute:
			t.Fatalf("it is not so within a minute that %s", what)
		}
	}
}
