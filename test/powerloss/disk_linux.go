// Package powerloss takes the power away from the real broker: its data lies on a file system of ours, which holds back what
// was not synced and, when told, forgets it. What each row of README's table of acknowledgements promises is checked after
// every cut.
//
//	go test ./powerloss                        a short run, as CI has it
//	make powerloss                             ten minutes; POWERLOSS_TIME=1h for more
//	POWERLOSS_SEED=7 go test -v ./powerloss    one sequence of cuts again
package powerloss

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// mode is what a cut leaves of that which was not synced.
type mode int

const (
	forgetAll  mode = iota // nothing
	keepSome               // each block of 4 KiB and each name by chance
	tearBlocks             // of one block in each file some sectors of 512 bytes, nothing else
	zeroTails              // the sizes of files, with zeros instead of what was written
	keepAll                // everything: the system died after it had written it all
	modes                  // their number
)

func (m mode) String() string {
	return [...]string{"nothing is kept", "some blocks are kept", "a block is torn", "tails are zeros", "all is kept"}[m]
}

const (
	blockLen  = 4096
	sectorLen = 512
)

// node is a file or a directory, as programs see it and as it would be after a cut.
type node struct {
	id       uint64
	dir      bool
	names    map[string]*node // of a directory
	synced   map[string]*node // as of its last sync
	data     []byte           // of a file
	durable  []byte           // as of its last sync
	modified time.Time
	syncs    int // begun
	hardened int // the latest that has ended
}

// disk is the whole file system.
type disk struct {
	mu   sync.Mutex
	root *node
	last uint64 // id given out
}

func newDisk() *disk {
	d := &disk{}
	d.root = d.newNode(true)
	return d
}

func (d *disk) newNode(dir bool) *node {
	d.last++
	n := &node{id: d.last, dir: dir, modified: time.Now()}
	if dir {
		n.names, n.synced = map[string]*node{}, map[string]*node{}
	}
	return n
}

// sync returns what makes the node durable as it is now: the content of a file, or the names in a directory. Of several that are
// under way the latest counts.
func (n *node) sync() (harden func()) {
	n.syncs++
	at, names, data := n.syncs, maps.Clone(n.names), slices.Clone(n.data)
	return func() {
		if at < n.hardened {
			return
		}
		n.hardened = at
		if n.dir {
			n.synced = names
		} else {
			n.durable = data
		}
	}
}

// write puts p at off, with zeros before it where the file was shorter.
func (n *node) write(p []byte, off int64) {
	if need := int(off) + len(p); need > len(n.data) {
		if need > cap(n.data) {
			n.data = slices.Grow(n.data, need-len(n.data)+len(n.data)/2)
		}
		end := len(n.data)
		n.data = n.data[:need]
		clear(n.data[end:])
	}
	copy(n.data[off:], p)
	n.modified = time.Now()
}

func (n *node) truncate(size int64) {
	if int(size) <= len(n.data) {
		n.data = n.data[:size]
	} else {
		n.write(make([]byte, int(size)-len(n.data)), int64(len(n.data)))
	}
	n.modified = time.Now()
}

// cut takes the power away. Nobody may have the file system mounted.
func (d *disk) cut(m mode, r *rand.Rand) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.root = d.survivor(d.root, m, r, map[*node]*node{})
	otherBoot(d.root, r)
}

// survivor is what is left of n; a node with two names is left once.
func (d *disk) survivor(n *node, m mode, r *rand.Rand, done map[*node]*node) *node {
	if left := done[n]; left != nil {
		return left
	}
	left := d.newNode(n.dir)
	left.modified = n.modified
	done[n] = left
	if !n.dir {
		left.data = n.survivingData(m, r)
		left.sync()()
		return left
	}
	for name, child := range n.survivingNames(m, r) {
		left.names[name] = d.survivor(child, m, r, done)
	}
	left.sync()()
	return left
}

func (n *node) survivingNames(m mode, r *rand.Rand) map[string]*node {
	switch m {
	case keepAll:
		return n.names
	case keepSome:
	default:
		return n.synced
	}
	left := map[string]*node{}
	all := maps.Clone(n.names)
	maps.Copy(all, n.synced)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		from := n.names
		if r.IntN(2) == 0 {
			from = n.synced
		}
		if child := from[name]; child != nil {
			left[name] = child
		}
	}
	return left
}

func (n *node) survivingData(m mode, r *rand.Rand) []byte {
	left := slices.Clone(n.durable)
	switch m {
	case keepAll:
		return slices.Clone(n.data)
	case zeroTails:
		if len(n.data) > len(left) {
			left = append(left, make([]byte, len(n.data)-len(left))...)
		}
	case keepSome:
		if len(n.data) < len(n.durable) && r.IntN(2) == 0 {
			left = left[:len(n.data)]
		}
		for at := 0; at < len(n.data); at += blockLen {
			if r.IntN(2) == 0 {
				left = overlay(left, n.data, at, min(at+blockLen, len(n.data)))
			}
		}
	case tearBlocks:
		at := n.firstChange()
		for s := at / blockLen * blockLen; s < min(at/blockLen*blockLen+blockLen, len(n.data)); s += sectorLen {
			if r.IntN(2) == 0 {
				left = overlay(left, n.data, s, min(s+sectorLen, len(n.data)))
			}
		}
	}
	return left
}

// firstChange is the first byte that is not as it was synced.
func (n *node) firstChange() int {
	for at := 0; at < len(n.data); at += sectorLen {
		end := min(at+sectorLen, len(n.data))
		if end > len(n.durable) || !bytes.Equal(n.data[at:end], n.durable[at:end]) {
			return at
		}
	}
	return len(n.data)
}

// overlay puts data[from:to] at the same place of left, with zeros before it where left is shorter.
func overlay(left, data []byte, from, to int) []byte {
	if to > len(left) {
		left = append(left, make([]byte, to-len(left))...)
	}
	copy(left[from:to], data[from:to])
	return left
}

// otherBoot gives the broker's note of the system's boot another boot id, as after a reboot: the system itself goes on.
func otherBoot(n *node, r *rand.Rand) {
	for name, child := range n.names {
		if child.dir {
			otherBoot(child, r)
			continue
		}
		if name != "moldau.boot" {
			continue
		}
		lines := bytes.SplitAfter(child.data, []byte("\n"))
		for i, line := range lines {
			if bytes.HasPrefix(line, []byte("boot: ")) && !bytes.Contains(line, []byte("unknown")) {
				lines[i] = fmt.Appendf(nil, "boot: %08x-0000-4000-8000-%012x\n", r.Uint32(), r.Uint64N(1<<48))
			}
		}
		child.data = bytes.Join(lines, nil)
		child.sync()()
	}
}
