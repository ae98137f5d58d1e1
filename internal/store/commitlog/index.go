package commitlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sync/atomic"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/store/filecache"
)

// Lengths of index entries on disk, in bytes.
const (
	offsetEntryLen = 8
	timeEntryLen   = 12
)

// offsetEntry says that the batch whose last offset is the segment's base + rel starts at byte pos. In an index that a
// follower of an older Apache Kafka wrote the offset may be that of a later batch, which came with this one; such an
// entry leads to a start that is too early, never too late, and is as good.
type offsetEntry struct{ rel, pos int32 }

// timeEntry says that ts is the highest timestamp up to and including the batch whose last offset is base + rel, and
// that it occurs in that batch.
type timeEntry struct {
	ts  moldau.Timestamp
	rel int32
}

func (offsetEntry) size() int { return offsetEntryLen }
func (timeEntry) size() int   { return timeEntryLen }

func (offsetEntry) ext() string { return indexExt }
func (timeEntry) ext() string   { return timeExt }

func (e offsetEntry) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(e.rel))
	return binary.BigEndian.AppendUint32(dst, uint32(e.pos))
}

func (e timeEntry) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.ts))
	return binary.BigEndian.AppendUint32(dst, uint32(e.rel))
}

func (offsetEntry) parse(b []byte) offsetEntry {
	return offsetEntry{int32(binary.BigEndian.Uint32(b)), int32(binary.BigEndian.Uint32(b[4:]))}
}

func (timeEntry) parse(b []byte) timeEntry {
	return timeEntry{moldau.Timestamp(binary.BigEndian.Uint64(b)), int32(binary.BigEndian.Uint32(b[8:]))}
}

// entry is what an index file is a row of.
type entry[E any] interface {
	size() int
	ext() string // of the file
	append(dst []byte) []byte
	parse(b []byte) E
}

// columnBlock is the number of index entries that a column allocates at once. Only its first block is smaller and grows, since
// most logs have few entries.
const columnBlock = 128

// column is a list of index entries in memory that one writer grows while others read.
type column[E any] struct {
	blocks atomic.Pointer[[][]E]
	n      atomic.Int64
}

func (c *column[E]) len() int { return int(c.n.Load()) }

// at returns entry i, which must be below a value that len returned.
func (c *column[E]) at(i int) E { return (*c.blocks.Load())[i/columnBlock][i%columnBlock] }

func (c *column[E]) add(e E) {
	n := int(c.n.Load())
	var blocks [][]E
	if p := c.blocks.Load(); p != nil {
		blocks = *p
	}
	switch {
	case n == 0:
		blocks = [][]E{make([]E, 1)}
		c.blocks.Store(&blocks)
	case n < columnBlock && n == len(blocks[0]):
		first := make([]E, 2*n)
		copy(first, blocks[0])
		blocks = [][]E{first} // readers have the old one, with all that they know of
		c.blocks.Store(&blocks)
	case n%columnBlock == 0:
		blocks = append(blocks, make([]E, columnBlock))
		c.blocks.Store(&blocks)
	}
	blocks[n/columnBlock][n%columnBlock] = e
	c.n.Store(int64(n + 1))
}

// index is one of a segment's two indexes: in memory while the segment is active, in its file once it is sealed. The
// zero value with a segment is a sealed one. Readers may use it while the owner adds to it or seals it.
type index[E entry[E]] struct {
	of   *segment // whose it is
	mem  atomic.Pointer[column[E]]
	file atomic.Pointer[indexFile]
}

func (x *index[E]) name() string {
	var e E
	return x.of.path + e.ext()
}

// indexFile is an index file that does not change any more.
type indexFile struct {
	*filecache.File
	size int64
}

// open returns the file of a sealed index, whose size is looked up once; a missing file is an error.
func (x *index[E]) open(fsys *filecache.FS) (*indexFile, error) {
	if f := x.file.Load(); f != nil {
		return f, nil
	}
	file := fsys.File(x.name())
	size, err := file.Size()
	f := &indexFile{file, size}
	if err == nil && x.file.CompareAndSwap(nil, f) {
		return f, nil
	}
	file.Drop() // it is not there, or another reader was faster
	return x.file.Load(), err
}

// keep opens the file of a sealed index until close.
func (x *index[E]) keep(fsys *filecache.FS) error {
	f, err := x.open(fsys)
	if err == nil {
		err = f.Keep()
	}
	return err
}

func (x *index[E]) close() {
	if f := x.file.Swap(nil); f != nil {
		f.Drop()
	}
}

// search returns the last entry for which atMost holds; it must hold for a prefix of the index. guess is the entry's
// likely place as a fraction of the index, which saves reads of a sealed index; scratch is at least indexPage bytes.
func (x *index[E]) search(fsys *filecache.FS, scratch []byte, guess float64, atMost func(E) bool) (e E, ok bool, err error) {
	if mem := x.mem.Load(); mem != nil {
		lo, hi := 0, mem.len()
		for lo < hi {
			if mid := int(uint(lo+hi) >> 1); atMost(mem.at(mid)) {
				lo = mid + 1
			} else {
				hi = mid
			}
		}
		if lo == 0 {
			return e, false, nil
		}
		return mem.at(lo - 1), true, nil
	}
	f, err := x.open(fsys)
	if err != nil {
		return e, false, err
	}
	return searchFile[E](f, scratch, guess, atMost)
}

// indexPage is how much of an index file a search reads at once, in bytes: a multiple of both entry lengths.
const indexPage = 3072

// searchFile is search over an index file: a binary search over pages, of which the first is guessed.
func searchFile[E entry[E]](f *indexFile, scratch []byte, guess float64, atMost func(E) bool) (e E, ok bool, err error) {
	width := e.size()
	lo, hi := 0, int((f.size+indexPage-1)/indexPage) // pages that may hold the entry
	mid := min(max(int(guess*float64(hi)), 0), hi-1)
	for step := 0; lo < hi; step = step*4 + 1 { // a guess that missed is mostly off by little: look near first
		page, err := readSome(f, scratch[:indexPage], int64(mid)*indexPage)
		if err != nil {
			return e, false, fmt.Errorf("read index %s: %w", f.Name(), err)
		}
		n := len(page) / width
		i := 0
		for j := n; i < j; {
			if m := (i + j) / 2; atMost(e.parse(page[m*width:])) {
				i = m + 1
			} else {
				j = m
			}
		}
		if i == 0 {
			hi = mid
			mid = max(hi-1-step, lo)
			continue
		}
		e, ok = e.parse(page[(i-1)*width:]), true
		if i < n {
			return e, ok, nil
		}
		lo = mid + 1
		mid = min(lo+step, hi-1)
	}
	return e, ok, nil
}

// readSome fills p from off as far as the file goes.
func readSome(f io.ReaderAt, p []byte, off int64) ([]byte, error) {
	n, err := f.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return p[:n], nil
}

// last returns the final entry.
func (x *index[E]) last(fsys *filecache.FS) (e E, ok bool, err error) {
	if mem := x.mem.Load(); mem != nil {
		if n := mem.len(); n > 0 {
			return mem.at(n - 1), true, nil
		}
		return e, false, nil
	}
	f, err := x.open(fsys)
	if err != nil {
		return e, false, err
	}
	return lastEntry[E](f, f.size)
}

// lastEntry reads the last whole entry of an index file of size bytes.
func lastEntry[E entry[E]](f env.File, size int64) (e E, ok bool, err error) {
	n := size / int64(e.size())
	if n == 0 {
		return e, false, nil
	}
	buf := make([]byte, e.size())
	b, err := readSome(f, buf, (n-1)*int64(e.size()))
	if err != nil || len(b) < e.size() {
		return e, false, fmt.Errorf("read index %s: %w", f.Name(), errors.Join(err, io.ErrUnexpectedEOF))
	}
	return e.parse(b), true, nil
}

// save writes the entries in memory to a new file; it is not synced.
func (x *index[E]) save(fsys *filecache.FS) error {
	if err := fsys.Remove(x.name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f := fsys.File(x.name())
	if err := f.Create(); err != nil {
		f.Drop()
		return err
	}
	b := x.encode()
	if len(b) > 0 {
		if _, err := f.WriteAt(b, 0); err != nil {
			f.Drop()
			_ = fsys.Remove(x.name()) // a part of an index is of no use, and what it takes may be what is missing
			return err
		}
	}
	if old := x.file.Swap(&indexFile{f, int64(len(b))}); old != nil {
		old.Drop()
	}
	return nil
}

// replace writes the entries in memory to the index file, which is durable and whole at any time.
func (x *index[E]) replace(fsys env.FS) error {
	return env.WriteFile(fsys, filepath.Dir(x.name()), filepath.Base(x.name()), x.encode())
}

// encode returns the entries in memory as a file has them.
func (x *index[E]) encode() []byte {
	mem := x.mem.Load()
	n := mem.len()
	var e E
	b := make([]byte, 0, n*e.size())
	for i := range n {
		b = mem.at(i).append(b)
	}
	return b
}

// load reads the file into memory, for the active segment. valid is asked for each entry and the one before.
func (x *index[E]) load(fsys env.FS, limit int64, valid func(before, e E, first bool) bool) (*column[E], error) {
	b, err := env.ReadFile(fsys, x.name(), limit)
	if err != nil {
		return nil, err
	}
	var e, before E
	if len(b)%e.size() != 0 {
		return nil, fmt.Errorf("index %s has %d bytes, not a multiple of %d", x.name(), len(b), e.size())
	}
	c := new(column[E])
	for i := 0; i < len(b); i += e.size() {
		e = e.parse(b[i:])
		if !valid(before, e, i == 0) {
			return nil, fmt.Errorf("index %s is wrong at entry %d", x.name(), i/e.size())
		}
		c.add(e)
		before = e
	}
	return c, nil
}
