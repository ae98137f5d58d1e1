package main

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"time"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// headerLen is the length of a record batch's header; the other constants are where its fields lie.
const (
	headerLen         = 61
	lengthAt          = 8
	crcAt             = 17
	attributesAt      = 21
	lastOffsetDeltaAt = 23
)

// partition is one file of batches and where each begins.
type partition struct {
	file *os.File

	mu struct {
		sync.Mutex
		starts []start
		next   int64 // offset
		size   int64
		grown  chan struct{} // closed at the next append, when somebody waits
	}
}

// start is where a batch begins.
type start struct{ offset, pos int64 }

// append gives the batch the next offsets and writes it.
func (p *partition) append(batch []byte) (base int64, err error) {
	be := binary.BigEndian
	if len(batch) < headerLen || int(be.Uint32(batch[lengthAt:]))+12 != len(batch) {
		return 0, fmt.Errorf("a batch of %d bytes has another length in its header", len(batch))
	}
	if crc32.Checksum(batch[attributesAt:], castagnoli) != be.Uint32(batch[crcAt:]) {
		return 0, fmt.Errorf("a batch of %d bytes has a wrong CRC", len(batch))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	base = p.mu.next
	be.PutUint64(batch, uint64(base))
	if _, err := p.file.Write(batch); err != nil {
		return 0, err
	}
	p.mu.starts = append(p.mu.starts, start{base, p.mu.size})
	p.mu.next += int64(be.Uint32(batch[lastOffsetDeltaAt:])) + 1
	p.mu.size += int64(len(batch))
	if p.mu.grown != nil {
		close(p.mu.grown)
		p.mu.grown = nil
	}
	return base, nil
}

// end is the offset that the next record gets.
func (p *partition) end() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.next
}

// region waits until there is something at the offset, but not past the deadline, and returns up to limit bytes of the
// file from there, with the end of the log.
func (p *partition) region(offset int64, limit int64, deadline time.Time) (pos, n, end int64) {
	for {
		p.mu.Lock()
		end = p.mu.next
		if offset < end {
			i := sort.Search(len(p.mu.starts), func(i int) bool { return p.mu.starts[i].offset > offset }) - 1
			pos = p.mu.starts[i].pos
			n = min(limit, p.mu.size-pos)
			p.mu.Unlock()
			return pos, n, end
		}
		if p.mu.grown == nil {
			p.mu.grown = make(chan struct{})
		}
		grown := p.mu.grown
		p.mu.Unlock()
		left := time.Until(deadline)
		if left <= 0 {
			return 0, 0, end
		}
		timer := time.NewTimer(left)
		select {
		case <-grown:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// topics holds all partitions.
type topics struct {
	dir string
	mu  struct {
		sync.RWMutex
		count map[string]int32
		open  map[key]*partition
	}
}

type key struct {
	topic string
	n     int32
}

func newTopics(dir string) *topics {
	t := &topics{dir: dir}
	t.mu.count, t.mu.open = map[string]int32{}, map[key]*partition{}
	return t
}

// partitions is how many partitions a topic has.
func (t *topics) partitions(topic string) int32 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return max(t.mu.count[topic], 1)
}

func (t *topics) create(topic string, partitions int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.count[topic] = partitions
}

// remove deletes the files of a topic; those who still read them have them until they close.
func (t *topics) remove(topic string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.mu.count, topic)
	for k, p := range t.mu.open {
		if k.topic == topic {
			_ = os.Remove(p.file.Name()) // what stays behind is in a directory for throwing away
			delete(t.mu.open, k)
		}
	}
}

// partition returns the partition, whose file is created at its first use.
func (t *topics) partition(topic []byte, n int32) (*partition, error) {
	t.mu.RLock()
	p := t.mu.open[key{string(topic), n}] // the compiler makes no copy for a look-up
	t.mu.RUnlock()
	if p != nil {
		return p, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	k := key{string(topic), n}
	if p := t.mu.open[k]; p != nil {
		return p, nil
	}
	f, err := os.Create(filepath.Join(t.dir, fmt.Sprintf("%s-%d.log", filepath.Base(k.topic), n)))
	if err != nil {
		return nil, err
	}
	p = &partition{file: f}
	t.mu.open[k] = p
	return p, nil
}
