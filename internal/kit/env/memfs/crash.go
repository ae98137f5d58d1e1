package memfs

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
)

// Keep says what of the unsynced a crash leaves. Directories are journals: a rename within one keeps both of its names or neither,
// and what happened to one name happened in order. Nothing else is promised: names do not wait for content, nor files for one another.
type Keep int

const (
	// None: only what was synced.
	None Keep = iota
	// All: everything, as after the end of a process.
	All
	// Some: by chance each change of a name, each block of 512 bytes as it was after any of its writes, each length.
	Some
	// Ordered: of each file and directory its changes up to a moment of its own, the last write cut off at any byte.
	Ordered
	// Torn: everything but a part of the last write of each file.
	Torn
	// Names: all names, and only the content that was synced, as where blocks are allocated late.
	Names
	// Content: all content, and only the names that were synced.
	Content
	// Zeros: all names and lengths; what a file has grown by is zeros.
	Zeros
	// Noise: all names and lengths; what a file has grown by is what was on the disk before.
	Noise
)

// Keeps is each of them.
var Keeps = []Keep{None, All, Some, Ordered, Torn, Names, Content, Zeros, Noise}

func (k Keep) String() string {
	if names := []string{"none", "all", "some", "ordered", "torn", "names", "content", "zeros", "noise"}; int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("Keep(%d)", int(k))
}

// Crash returns the file system as it is after a loss of power; seed decides what is left to chance. The receiver stays as it is.
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

func (c *crash) survive(n *node) *node {
	if s := c.done[n]; s != nil {
		return s
	}
	s := &node{dir: n.dir, modified: n.modified}
	c.done[n] = s
	if n.dir {
		s.children = c.names(n)
		for _, name := range slices.Sorted(maps.Keys(s.children)) {
			s.children[name] = c.survive(s.children[name])
		}
	} else {
		s.data = c.content(n)
	}
	s.sync()
	return s
}

// names is what the names in directory n stand for.
func (c *crash) names(n *node) map[string]*node {
	names := maps.Clone(n.durable)
	kept := c.keptNames(len(n.renames))
	lost := map[string]bool{} // and with them what happened to them later
	for i, change := range n.renames {
		ok := kept(i)
		for name := range change {
			ok = ok && !lost[name]
		}
		if ok {
			change.apply(names)
			continue
		}
		for name := range change {
			lost[name] = true
		}
	}
	return names
}

// keptNames tells which of the n changes of a directory are kept.
func (c *crash) keptNames(n int) func(i int) bool {
	switch c.keep {
	case None, Content:
		return func(int) bool { return false }
	case Some:
		luck := c.luck()
		return func(int) bool { return luck() }
	case Ordered:
		end := c.rand.IntN(n + 1)
		return func(i int) bool { return i < end }
	}
	return func(int) bool { return true }
}

// luck is a coin for one file or directory: so that there are ones of which little is kept, and ones of which little is lost.
func (c *crash) luck() func() bool {
	odds := []int{1, 4, 7}[c.rand.IntN(3)]
	return func() bool { return c.rand.IntN(8) < odds }
}

func (c *crash) content(n *node) []byte {
	writes := len(n.writes)
	switch c.keep {
	case None, Names:
		return slices.Clone(n.synced)
	case Some:
		return c.blocks(n)
	case Ordered:
		return c.upTo(n, c.rand.IntN(writes+1))
	case Torn:
		return c.upTo(n, max(writes-1, 0))
	case Zeros:
		return write{off: int64(len(n.data))}.apply(slices.Clone(n.synced))
	case Noise:
		data := write{off: int64(len(n.data))}.apply(slices.Clone(n.synced))
		for i := len(n.synced); i < len(data); i++ {
			data[i] = byte(c.rand.Uint32())
		}
		return data
	}
	return slices.Clone(n.data)
}

// upTo is the content of n after its first k writes and, as likely as not, a part of the next one.
func (c *crash) upTo(n *node, k int) []byte {
	data := slices.Clone(n.synced)
	for _, w := range n.writes[:k] {
		data = w.apply(data)
	}
	if k < len(n.writes) && n.writes[k].p != nil && c.rand.IntN(2) == 0 {
		data = n.writes[k].part(c.rand.IntN(len(n.writes[k].p))).apply(data)
	}
	return data
}

// block is the unit that a disk writes whole.
const block = 512

// blocks is the content of n where each block is as it was after any of the writes to it, and the length that after any write: the
// latest, by luck, or an earlier one. Where a file is longer than what reached the disk there are zeros.
func (c *crash) blocks(n *node) []byte {
	luck := c.luck()
	data, out := slices.Clone(n.synced), slices.Clone(n.synced)
	size, sizes := len(data), 1
	versions := map[int]int{}
	for _, w := range n.writes {
		was := len(data)
		data = w.apply(data)
		if len(data) != was {
			sizes++
			if c.rand.IntN(sizes) == 0 {
				size = len(data)
			}
		}
		from, end := int(w.off), int(w.off)+len(w.p)
		if w.p == nil {
			from, end = min(was, len(data)), max(was, len(data))
		}
		for at := from / block * block; at < end; at += block {
			versions[at]++
			if c.rand.IntN(versions[at]+1) == 0 {
				out = keepBlock(out, data, at)
			}
		}
	}
	for _, at := range slices.Sorted(maps.Keys(versions)) {
		if luck() {
			out = keepBlock(out, data, at)
		}
	}
	if luck() {
		size = len(n.data)
	}
	return write{off: int64(size)}.apply(out)
}

// keepBlock gives out the block of data that begins at at.
func keepBlock(out, data []byte, at int) []byte {
	var b [block]byte
	if at < len(data) {
		copy(b[:], data[at:])
	}
	return write{int64(at), b[:]}.apply(out)
}
