package txn

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/rsm"
)

// walk is clients that want one transactional id, on a stage: each acts on what it was told last, requests come twice and
// late, answers are lost, and the coordinator is lost and loaded again at any time.
type walk struct {
	*stage
	rand    *rand.Rand
	clients []client
	waiting map[rsm.Ticket]int // clients by the ticket of their InitProducerId or end
	owner   rsm.Producer       // newest that was granted
}

type client struct {
	producer rsm.Producer
	old      []rsm.Producer
}

// TestWalk: from the moment at which somebody is granted the id, nobody who had it before changes anything any more (T4), and
// whatever happens the machine is what a load finds (O4), its epochs do not go back (T7), and it comes to rest (T6).
func TestWalk(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := &walk{
				stage: newStage(t), rand: rand.New(rand.NewPCG(seed, 1)), clients: make([]client, 3), waiting: map[rsm.Ticket]int{}, owner: rsm.NoProducer(),
			}
			for range 300 {
				w.step()
			}
			w.settle()
		})
	}
}

func (w *walk) step() {
	i := w.rand.IntN(len(w.clients))
	c := &w.clients[i]
	p := c.producer
	if len(c.old) > 0 && w.rand.IntN(5) == 0 {
		p = c.old[w.rand.IntN(len(c.old))] // comes late, or again
	}
	w.tickets++
	version := int16(2 * w.rand.IntN(2))
	switch w.rand.IntN(12) {
	case 0, 1:
		q := &Init{ID: "x", Timeout: time.Minute, Expected: rsm.NoProducer(), Fresh: w.freshID()}
		if w.rand.IntN(2) == 0 && p.ID != 0 {
			q.Expected = p
		}
		w.waiting[w.tickets] = i
		w.do(w.m.InitProducer(w.now, w.tickets, q), nil)
	case 2, 3, 4, 5:
		at := moldau.TopicPartition{Topic: "t", Partition: w.rand.Int32N(3)}
		w.do(w.m.AddPartitions(w.now, w.tickets, &Add{ID: "x", Producer: p, Partitions: []moldau.TopicPartition{at}, Version: version}), &p)
	case 6, 7:
		w.waiting[w.tickets] = i
		w.do(w.m.EndTransaction(w.now, w.tickets, &End{ID: "x", Producer: p, Commit: w.rand.IntN(2) == 0, Version: version, Fresh: w.freshID()}), &p)
	case 8, 9:
		if m := w.asked["x"]; m != nil {
			w.do(w.m.Marked(w.now, rsm.NoTicket, m, m.Partitions[w.rand.IntN(len(m.Partitions)):]), nil)
		}
	case 10:
		w.m = w.loaded()
		clear(w.waiting)
	case 11:
		w.pass(time.Duration(w.rand.IntN(40)) * time.Second)
	}
	w.pass(0)
}

func (w *walk) freshID() moldau.ProducerID {
	w.fresh++
	return w.fresh
}

// do takes what a request of p has led to. p is nil where the request did not claim to be anybody.
func (w *walk) do(o Output, p *rsm.Producer) {
	if p != nil && p.ID == w.owner.ID && p.Epoch < w.owner.Epoch && len(o.Records) > 0 {
		w.t.Fatalf("producer %v was fenced by %v, and leads to %s", *p, w.owner, tellRecord(o.Records[0]))
	}
	w.take(o)
	for _, r := range o.Replies {
		i, ok := w.waiting[r.To]
		if g, is := r.Response.(Granted); ok && is && g.Code == moldau.None && !g.NeedsFresh && w.rand.IntN(8) != 0 {
			w.owner = g.Producer
			w.clients[i].old = append(w.clients[i].old, w.clients[i].producer)
			w.clients[i].producer = g.Producer
		}
		delete(w.waiting, r.To)
	}
}

// pass lets time pass.
func (w *walk) pass(d time.Duration) {
	end := w.now.Add(d)
	for {
		at, ok := w.m.Deadline()
		if !ok || at.After(end) {
			w.now = end
			return
		}
		if at.After(w.now) {
			w.now = at
		}
		w.do(w.m.Tick(w.now), nil)
	}
}

// settle: nothing is open for longer than its time-out, and the markers that it takes.
func (w *walk) settle() {
	w.pass(2 * time.Minute)
	for range 3 {
		if m := w.asked["x"]; m != nil {
			w.do(w.m.Marked(w.now, rsm.NoTicket, m, m.Partitions), nil)
		}
		w.pass(2 * time.Minute)
	}
	if x := w.m.byID["x"]; x != nil && (x.preparing() || x.state == Ongoing || len(x.held) > 0) {
		w.t.Fatalf("the transaction hangs in %v, and %d requests wait", x.state, len(x.held))
	}
}
