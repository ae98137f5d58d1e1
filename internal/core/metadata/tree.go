package metadata

import "iter"

// tree is a persistent ordered map: set and remove return a new tree that shares all but the O(log n) nodes on one path
// with the old, which stays as it was. It is balanced by weight (Adams 1992, with the factors 3 and 2 that Hirai and
// Yamamoto proved in 2011), so its shape depends on nothing but the operations, and it knows its size for free.
type tree[K, V any] struct {
	compare func(a, b K) int
	root    *node[K, V]
}

type node[K, V any] struct {
	key         K
	value       V
	size        int
	left, right *node[K, V]
}

func (n *node[K, V]) len() int {
	if n == nil {
		return 0
	}
	return n.size
}

func (t tree[K, V]) len() int { return t.root.len() }

func (t tree[K, V]) get(key K) (value V, ok bool) {
	for n := t.root; n != nil; {
		switch c := t.compare(key, n.key); {
		case c < 0:
			n = n.left
		case c > 0:
			n = n.right
		default:
			return n.value, true
		}
	}
	return value, false
}

// set returns the tree with key bound to value.
func (t tree[K, V]) set(key K, value V) tree[K, V] {
	return tree[K, V]{t.compare, t.insert(t.root, key, value)}
}

func (t tree[K, V]) insert(n *node[K, V], key K, value V) *node[K, V] {
	if n == nil {
		return &node[K, V]{key: key, value: value, size: 1}
	}
	switch c := t.compare(key, n.key); {
	case c < 0:
		return join(t.insert(n.left, key, value), n, n.right)
	case c > 0:
		return join(n.left, n, t.insert(n.right, key, value))
	default:
		return &node[K, V]{key, value, n.size, n.left, n.right}
	}
}

// remove returns the tree without key; the same tree where it is absent.
func (t tree[K, V]) remove(key K) tree[K, V] {
	if _, ok := t.get(key); !ok {
		return t
	}
	return tree[K, V]{t.compare, t.delete(t.root, key)}
}

func (t tree[K, V]) delete(n *node[K, V], key K) *node[K, V] {
	switch c := t.compare(key, n.key); {
	case c < 0:
		return join(t.delete(n.left, key), n, n.right)
	case c > 0:
		return join(n.left, n, t.delete(n.right, key))
	case n.left == nil:
		return n.right
	case n.right == nil:
		return n.left
	default:
		first := n.right
		for first.left != nil {
			first = first.left
		}
		return join(n.left, first, t.delete(n.right, first.key))
	}
}

// join makes a balanced node of mid's entry between two balanced trees, one of which may have gained or lost one entry.
func join[K, V any](left, mid, right *node[K, V]) *node[K, V] {
	const delta, gamma = 3, 2
	l, r := left.len()+1, right.len()+1
	switch {
	case r > delta*l:
		if right.left.len()+1 < gamma*(right.right.len()+1) {
			return link(link(left, mid, right.left), right, right.right)
		}
		pivot := right.left
		return link(link(left, mid, pivot.left), pivot, link(pivot.right, right, right.right))
	case l > delta*r:
		if left.right.len()+1 < gamma*(left.left.len()+1) {
			return link(left.left, left, link(left.right, mid, right))
		}
		pivot := left.right
		return link(link(left.left, left, pivot.left), pivot, link(pivot.right, mid, right))
	}
	return link(left, mid, right)
}

func link[K, V any](left, mid, right *node[K, V]) *node[K, V] {
	return &node[K, V]{mid.key, mid.value, left.len() + right.len() + 1, left, right}
}

// all walks the entries in ascending order of their keys.
func (t tree[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) { t.root.walk(yield) }
}

func (n *node[K, V]) walk(yield func(K, V) bool) bool {
	return n == nil || n.left.walk(yield) && yield(n.key, n.value) && n.right.walk(yield)
}

// from walks the entries whose key is first or behind it, in ascending order.
func (t tree[K, V]) from(first K) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) { t.walkFrom(t.root, first, yield) }
}

func (t tree[K, V]) walkFrom(n *node[K, V], first K, yield func(K, V) bool) bool {
	switch {
	case n == nil:
		return true
	case t.compare(n.key, first) < 0:
		return t.walkFrom(n.right, first, yield)
	default:
		return t.walkFrom(n.left, first, yield) && yield(n.key, n.value) && n.right.walk(yield)
	}
}
