package metadata

import (
	"cmp"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A tree does what a map does, every version of it stays as it was, and it stays balanced.
func TestTreeIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type version struct {
			tree tree[int, int]
			want map[int]int
		}
		key := rapid.IntRange(0, 60)
		now := version{tree[int, int]{compare: cmp.Compare[int]}, map[int]int{}}
		past := []version{now}
		for range rapid.IntRange(0, 120).Draw(t, "operations") {
			k, v := key.Draw(t, "key"), rapid.Int().Draw(t, "value")
			now.want = maps.Clone(now.want)
			if rapid.Bool().Draw(t, "remove") {
				now.tree = now.tree.remove(k)
				delete(now.want, k)
			} else {
				now.tree = now.tree.set(k, v)
				now.want[k] = v
			}
			past = append(past, now)
		}
		first := key.Draw(t, "first")
		for i, p := range past {
			if got := maps.Collect(p.tree.all()); !maps.Equal(got, p.want) || p.tree.len() != len(p.want) {
				t.Fatalf("version %d: %v (%d), want %v", i, got, p.tree.len(), p.want)
			}
			var keys, wantKeys []int
			for k := range p.tree.from(first) {
				keys = append(keys, k)
			}
			for _, k := range slices.Sorted(maps.Keys(p.want)) {
				if k >= first {
					wantKeys = append(wantKeys, k)
				}
			}
			if !slices.Equal(keys, wantKeys) {
				t.Fatalf("version %d from %d: %v, want %v", i, first, keys, wantKeys)
			}
			for k := range 61 {
				v, ok := p.tree.get(k)
				if w, wantOK := p.want[k]; v != w || ok != wantOK {
					t.Fatalf("version %d: get(%d) = %d %t, want %d %t", i, k, v, ok, w, wantOK)
				}
			}
			checkBalance(t, p.tree.root)
		}
	})
}

func checkBalance(t *rapid.T, n *node[int, int]) {
	if n == nil {
		return
	}
	l, r := n.left.len()+1, n.right.len()+1
	if l > 3*r || r > 3*l || n.size != l+r-1 {
		t.Fatalf("a node of size %d has sides of weight %d and %d", n.size, l, r)
	}
	checkBalance(t, n.left)
	checkBalance(t, n.right)
}

func TestTreeWalkStopsEarly(t *testing.T) {
	tr := tree[int, int]{compare: cmp.Compare[int]}
	for i := range 100 {
		tr = tr.set(i, i)
	}
	n := 0
	for k := range tr.from(40) {
		if n++; k == 44 {
			break
		}
	}
	for k := range tr.all() {
		if n++; k == 4 {
			break
		}
	}
	if n != 10 {
		t.Fatalf("%d steps, want 5 and 5", n)
	}
}

// A change costs a path: 2·log₂(n) nodes and little more, not the map.
func TestTreeSharesStructure(t *testing.T) {
	tr := tree[int, int]{compare: cmp.Compare[int]}
	for i := range 1 << 16 {
		tr = tr.set(i, i)
	}
	if allocs := testing.AllocsPerRun(100, func() { tr.set(12345, 0) }); allocs > 40 {
		t.Fatalf("%v allocations for one change among 65536 entries", allocs)
	}
}
