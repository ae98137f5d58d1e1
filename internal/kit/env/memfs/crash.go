package memfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// Keep says what of the unsynced a crash leaves.
type Keep int

const (
	// None: only what was synced.
	None Keep = iota
	// All: everything, as after the end of a process.
	All
	// Some: of each name, each block of 512 bytes and each length either the synced or the latest state, by chance.
	Some
)

// Crash returns the file system as it is after a loss of power; seed decides for Some. The receiver stays as it is.
func (f *FS) Crash(keep Keep, seed uint64) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := &crash{keep: keep, rand: rand.New(rand.NewPCG(seed, 1)), done: map[*node]*node{}}
	after := New()
	after.Now, after.Capacity = f.Now, f.Capacity
	after.root = c.survive(f.root)
	return after
}

type crash struct {
	keep Keep
	rand *rand.Rand
	done map[*node]*node // a node may have an old and a new name
}

func (c *crash) latest() bool {
	return c.keep == All || c.keep == Some && c.rand.IntN(2) == 0
}

func (c *crash) survive(n *node) *node {
	if s := c.done[n]; s != nil {
		return s
	}
	s := &node{dir: n.dir, modified: n.modified}
	c.done[n] = s
	if n.dir {
		s.children = map[string]*node{}
		names := maps.Clone(n.durable)
		maps.Copy(names, n.children)
		fate := map[string]bool{}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			if _, decided := fate[name]; !decided {
				latest := c.latest()
				for _, other := range n.renamed(name, nil) {
					fate[other] = latest
				}
			}
			child := n.durable[name]
			if fate[name] {
				child = n.children[name]
			}
			if child != nil {
				s.children[name] = c.survive(child)
			}
		}
		s.durable = maps.Clone(s.children)
		return s
	}
	s.data = c.content(n)
	s.synced = slices.Clone(s.data)
	return s
}

// renamed adds to names the name and those that renames since the last SyncDir connect with it. A rename within a directory is whole:
// the journal of every file system that we run on keeps both of its names or neither.
func (n *node) renamed(name string, names []string) []string {
	if slices.Contains(names, name) {
		return names
	}
	names = append(names, name)
	for other, child := range n.children {
		if was := n.durable[name]; was != nil && child == was {
			names = n.renamed(other, names)
		}
	}
	for other, was := range n.durable {
		if child := n.children[name]; child != nil && was == child && n.children[other] != child {
			names = n.renamed(other, names)
		}
	}
	return names
}

// block is the unit that a disk writes whole.
const block = 512

func (c *crash) content(n *node) []byte {
	data := slices.Clone(n.synced)
	size := len(data)
	if c.latest() {
		size = len(n.data)
	}
	if size > len(data) { // a file may have grown although its blocks did not reach the disk: they are zeros
		data = append(data, make([]byte, size-len(data))...)
	}
	data = data[:size]
	for at := 0; at < size; at += block {
		end := min(at+block, size)
		if c.latest() && at < len(n.data) {
			clear(data[at:end])
			copy(data[at:end], n.data[at:])
		}
	}
	return data
}
