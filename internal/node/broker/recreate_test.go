package broker

import (
	"os"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
)

// A topic that is made again begins at offset 0, whatever the checkpoints of its namesake said: the log start that
// DeleteRecords had moved, and that the start of the broker read, is not its own.
func TestRecreatedTopicBeginsAtZero(t *testing.T) {
	for _, restart := range []string{"before the deletion", "after the deletion", "between"} {
		t.Run("restart "+restart, func(t *testing.T) {
			dir := t.TempDir()
			b, stop := start(t, dir)
			c := client(t, b)
			create(t, c, "t", 1)
			produce(t, c, "t", "a", "b", "c")
			offsets := make(kadm.Offsets)
			offsets.AddOffset("t", 0, 2, -1)
			if _, err := kadm.NewClient(c).DeleteRecords(t.Context(), offsets); err != nil {
				t.Fatal(err)
			}
			again := func() {
				stop()
				b, stop = start(t, dir)
				c = client(t, b)
			}
			if restart != "after the deletion" {
				again()
			}
			if _, err := kadm.NewClient(c).DeleteTopic(t.Context(), "t"); err != nil {
				t.Fatal(err)
			}
			if restart != "before the deletion" {
				again()
			}
			create(t, c, "t", 1)
			starts, err := kadm.NewClient(c).ListStartOffsets(t.Context(), "t")
			if err != nil {
				t.Fatal(err)
			}
			if o, _ := starts.Lookup("t", 0); o.Offset != 0 || o.Err != nil {
				t.Errorf("the new topic begins at offset %d, %v", o.Offset, o.Err)
			}
			produce(t, c, "t", "new")
			killed := t.TempDir() // what a kill would leave now
			if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			b, _ = start(t, killed)
			p := b.partitions.Get(b.cluster.Image().Topic("t").ID, 0)
			if <-p.Settled(); !p.Online() || p.Log().Start() != 0 || p.Log().End() != 1 {
				t.Errorf("after a kill: %v", p.Failure())
			}
		})
	}
}
