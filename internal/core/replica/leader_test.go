package replica

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/moldau/moldau"
)

// TestHighWatermark drives a leadership at random beside a naive one: the high watermark is the lowest end of the in-sync
// set when it advances, and it never goes back.
func TestHighWatermark(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ids := []moldau.BrokerID{1, 2, 3, 4}[:rapid.IntRange(1, 4).Draw(t, "replicas")]
		start := moldau.Offset(rapid.IntRange(0, 20).Draw(t, "end"))
		m := model{
			cfg: Config{Self: 1, Epoch: 1, Replicas: ids, InSync: ids, MinInSync: rapid.IntRange(1, 4).Draw(t, "min"), Durable: rapid.Bool().Draw(t, "durable")},
			end: start, durable: moldau.Offset(rapid.IntRange(0, int(start)).Draw(t, "synced")), ends: map[moldau.BrokerID]moldau.Offset{},
		}
		known := moldau.Offset(rapid.IntRange(0, int(start)).Draw(t, "hw"))
		l := NewLeader(m.cfg, m.end, m.durable, known)
		m.check(t, l, known)
		now := time.Unix(1000, 0)
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				before := l.HighWatermark()
				m.end += moldau.Offset(rapid.IntRange(0, 5).Draw(t, "records"))
				l.Appended(m.end)
				m.check(t, l, before)
			},
			"flush": func(t *rapid.T) {
				before := l.HighWatermark()
				at := moldau.Offset(rapid.Int64Range(0, int64(m.end)).Draw(t, "at"))
				m.durable = max(m.durable, at)
				l.Flushed(at)
				m.check(t, l, before)
			},
			"fetch": func(t *rapid.T) {
				before := l.HighWatermark()
				by := moldau.BrokerID(rapid.IntRange(1, 5).Draw(t, "by"))
				at := moldau.Offset(rapid.Int64Range(0, int64(m.end)+3).Draw(t, "at"))
				if at <= m.end {
					m.ends[by] = at
				}
				l.Fetched(by, at, now)
				m.check(t, l, before)
			},
			"reconfigure": func(t *rapid.T) {
				before := l.HighWatermark()
				m.cfg.InSync = []moldau.BrokerID{1}
				for _, id := range ids[1:] {
					if rapid.Bool().Draw(t, "in sync") {
						m.cfg.InSync = append(m.cfg.InSync, id)
					}
				}
				m.cfg.MinInSync, m.cfg.Durable = rapid.IntRange(1, 4).Draw(t, "min"), rapid.Bool().Draw(t, "durable")
				l.Reconfigured(m.cfg)
				m.check(t, l, before)
			},
		})
	})
}

// model is what a leader knows, and the definition of its high watermark.
type model struct {
	cfg          Config
	end, durable moldau.Offset
	ends         map[moldau.BrokerID]moldau.Offset
}

func (m *model) check(t *rapid.T, l *Leader, before moldau.Offset) {
	t.Helper()
	committed := m.end
	if m.cfg.Durable {
		committed = m.durable
	}
	for _, id := range m.cfg.InSync[1:] {
		end, asked := m.ends[id]
		if !asked {
			end = -1
		}
		committed = min(committed, end)
	}
	want := max(before, committed)
	if len(m.cfg.InSync) < min(m.cfg.MinInSync, len(m.cfg.Replicas)) {
		want = before
	}
	if got := l.HighWatermark(); got != want {
		t.Fatalf("high watermark %d, want %d (before %d, lowest in-sync end %d, in sync %v of %v, min %d)",
			got, want, before, committed, m.cfg.InSync, m.cfg.Replicas, m.cfg.MinInSync)
	}
}

func TestReconfiguredOfAnotherEpoch(t *testing.T) {
	l := NewLeader(Config{Self: 1, Epoch: 1, Replicas: []moldau.BrokerID{1}, InSync: []moldau.BrokerID{1}}, 0, 0, 0)
	defer func() {
		if recover() == nil {
			t.Error("a leadership took the metadata of another")
		}
	}()
	l.Reconfigured(Config{Self: 1, Epoch: 2})
}

func TestFollowersAreSorted(t *testing.T) {
	l := NewLeader(Config{Self: 2, Replicas: []moldau.BrokerID{9, 2, 1, 5}, InSync: []moldau.BrokerID{9, 2, 1, 5}}, 10, 10, 0)
	if got := l.Lagging(time.Unix(1, 0)); !slices.Equal(got, []moldau.BrokerID{1, 5, 9}) {
		t.Errorf("lagging %v", got)
	}
}
