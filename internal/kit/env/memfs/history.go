package memfs

import (
	"maps"
	"slices"
	"time"
)

// node is a file or a directory: what programs see, what would survive, and each change that lies between the two.
type node struct {
	dir      bool
	children map[string]*node // what programs see
	durable  map[string]*node // what would survive
	renames  []naming         // from durable to children
	data     []byte
	synced   []byte
	writes   []write // from synced to data
	modified time.Time
}

// naming is a change of a directory: what its names stand for from then on, nil for nothing. A rename is one change of two names.
type naming map[string]*node

// write is a change of a file: p at off, or, where p is nil, the size becomes off.
type write struct {
	off int64
	p   []byte
}

func (w write) apply(data []byte) []byte {
	end := int(w.off) + len(w.p)
	if grow := end - len(data); grow > 0 {
		data = append(data, make([]byte, grow)...)
	}
	if w.p == nil {
		return data[:end]
	}
	copy(data[w.off:], w.p)
	return data
}

// part is the write without what comes behind its first n bytes.
func (w write) part(n int) write { return write{w.off, w.p[:n:n]} }

func newDir() *node {
	return &node{dir: true, children: map[string]*node{}, durable: map[string]*node{}}
}

func (n *node) rename(c naming) {
	c.apply(n.children)
	n.renames = append(n.renames, c)
}

func (c naming) apply(names map[string]*node) {
	for name, child := range c {
		if child == nil {
			delete(names, name)
		} else {
			names[name] = child
		}
	}
}

func (n *node) write(w write) {
	if w.p != nil {
		w.p = slices.Clone(w.p)
	}
	n.data = w.apply(n.data)
	n.writes = append(n.writes, w)
}

// empty removes all that is in the directory n, one name after the other.
func (n *node) empty() {
	for _, name := range slices.Sorted(maps.Keys(n.children)) {
		n.children[name].empty()
		n.rename(naming{name: nil})
	}
}

// sync makes n durable as programs see it: the content of a file, the names in a directory.
func (n *node) sync() {
	n.synced, n.writes = slices.Clone(n.data), nil
	n.durable, n.renames = maps.Clone(n.children), nil
}

// syncAll makes n durable and all below it.
func (n *node) syncAll() {
	n.sync()
	for _, child := range n.children {
		child.syncAll()
	}
}
