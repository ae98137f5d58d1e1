package clients

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/moldau/moldau/test/subject"
)

// inGroup has two members of a group read a topic one after another: the second goes on where the first has left.
func inGroup(t *testing.T, c client) {
	address := subject.Address(t)
	topic := subject.Topic(t, address, 3)
	want := sample(c.text)
	franzProduce(t, address, topic, "", want)
	group := "group-of-" + topic
	got := c.member(t, address, topic, group, 25)
	got = append(got, c.member(t, address, topic, group, len(want)-25)...)
	byKey := func(a, b record) int { return slices.Compare(a.key, b.key) }
	slices.SortFunc(got, byKey)
	slices.SortFunc(want, byKey)
	same(t, c.name+" in a group", got, want)
}

// franzMember reads n records as a member.
func franzMember(t *testing.T, address, topic, group string, n int) (rs []record) {
	t.Helper()
	c := franzClient(t, address, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for len(rs) < n {
		fetches := c.PollRecords(ctx, n-len(rs))
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d of %d records: %v", len(rs), n, err)
		}
		if err := c.CommitRecords(ctx, fetches.Records()...); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(k *kgo.Record) {
			r := record{key: k.Key, value: k.Value}
			for _, h := range k.Headers {
				r.headers = append(r.headers, header{h.Key, h.Value})
			}
			rs = append(rs, r)
		})
	}
	return rs
}

// TestMembersShareATopic has members come and go while records are written: each record is read, and no partition by two
// at a time (G1, G2), with the eager and the cooperative protocol.
func TestMembersShareATopic(t *testing.T) {
	for _, balancer := range []kgo.GroupBalancer{kgo.RangeBalancer(), kgo.CooperativeStickyBalancer()} {
		t.Run(balancer.ProtocolName(), func(t *testing.T) { shareTopic(t, balancer) })
	}
}

func shareTopic(t *testing.T, balancer kgo.GroupBalancer) {
	address := subject.Address(t)
	topic := subject.Topic(t, address, 6)
	group := "shared-" + topic
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var mu sync.Mutex
	owner := map[int32]int{} // partition → member
	read := map[string]bool{}
	var members sync.WaitGroup
	for m := range 4 {
		members.Add(1)
		go func() { // ends when all is read
			defer members.Done()
			c := franzClient(t, address, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.Balancers(balancer), kgo.DisableAutoCommit(),
				kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.BlockRebalanceOnPoll(),
				kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, got map[string][]int32) {
					mu.Lock()
					defer mu.Unlock()
					for _, p := range got[topic] {
						if other, taken := owner[p]; taken {
							t.Errorf("partition %d is given to member %d, and member %d has it", p, m, other)
						}
						owner[p] = m
					}
				}),
				kgo.OnPartitionsRevoked(func(ctx context.Context, c *kgo.Client, gone map[string][]int32) {
					if err := c.CommitUncommittedOffsets(ctx); err != nil {
						t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					for _, p := range gone[topic] {
						delete(owner, p)
					}
				}))
			for {
				fetches := c.PollFetches(ctx)
				mu.Lock()
				fetches.EachRecord(func(r *kgo.Record) { read[string(r.Key)] = true })
				done := len(read) == 400
				mu.Unlock()
				c.AllowRebalance()
				if done || ctx.Err() != nil {
					break
				}
			}
			c.CloseAllowingRebalance()
		}()
		// Members come while records are written.
		var more []record
		for i := range 100 {
			more = append(more, record{key: []byte{byte('a' + m), byte(i)}, value: []byte("x")})
		}
		franzProduce(t, address, topic, "", more)
	}
	cancelled := make(chan struct{})
	go func() { // ends with the members
		members.Wait()
		close(cancelled)
	}()
	// Who has read nothing new waits in a poll: the end of the others' work ends it.
	for {
		select {
		case <-cancelled:
			if len(read) != 400 {
				t.Errorf("%d of 400 records were read", len(read))
			}
			return
		case <-time.After(50 * time.Millisecond):
			mu.Lock()
			done := len(read) == 400
			mu.Unlock()
			if done {
				cancel()
			}
		}
	}
}
