package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/proto/record"
)

// ErrDamaged is what a log answers to every change while bytes in its midst are damaged or missing, and what a read of such
// bytes ends with. Errors that wrap it are a *Damage or name the place themselves.
var ErrDamaged = errors.New("the log is damaged")

// Outage says how the last life of a log ended, which decides whether bytes that are no batch were torn by it or have changed
// since.
type Outage int

// The outages.
const (
	// Unknown may be any of the others.
	Unknown Outage = iota
	// Killed is the end of the process alone. The page cache survived, and with it every write that returned; the last one may
	// be there in part, from its beginning on.
	Killed
	// Rebooted is the end of the operating system: power or kernel. Of what was not synced each page may be lost alone.
	Rebooted
)

// Damage is a place behind which a log cannot be believed. What is before it is served; what is behind it stays on the disk.
type Damage struct {
	// Offset is the first that cannot be served.
	Offset moldau.Offset
	// File is the segment's file, and Byte where the damage begins in it.
	File string
	Byte int64
	// Reason says what is wrong there.
	Reason string
	// Behind says that whole batches stand behind the damage.
	Behind bool
}

// Error tells where the damage is and what to do about it.
func (d *Damage) Error() string {
	return fmt.Sprintf("damaged from offset %d on, %s at byte %d: %s; what is before is served, nothing is appended and nothing was deleted. "+
		"Stop the broker and run: moldau log repair %s", d.Offset, d.File, d.Byte, d.Reason, filepath.Dir(d.File))
}

// Unwrap makes every damage an ErrDamaged.
func (d *Damage) Unwrap() error { return ErrDamaged }

// Damage is where the log is damaged, or nil. A log that is damaged serves what is before, and refuses every change. It may
// be called from any goroutine.
func (l *Log) Damage() *Damage { return l.damage }

// damageName is the file beside the segments that says that a log was found damaged. While it stands, what is no batch counts
// as damage whatever happened since: a reboot after the damage was found does not make it a torn write.
const damageName = "moldau.damaged"

// stopAt decides what becomes of a log whose scan ended in segment i, before a batch that is not what it should be: a write
// that an outage has torn is cut off; anything else is damage, and destroys nothing.
func (r *recoverer) stopAt(i int) error {
	s, at := r.segs[i], min(r.scanner.pos, r.segs[i].size)
	behind, err := r.batchesBehind(i, at)
	if err != nil {
		return fmt.Errorf("look behind the damage of segment %d: %w", s.base, err)
	}
	torn, err := r.isTorn(s, at, behind)
	if err != nil {
		return err
	}
	if torn {
		r.report.Midway = behind.later
		return r.cut(i, at)
	}
	return r.breakAt(i, at, behind.found)
}

// isTorn reports whether what stands in s from byte at on can be a write that the last outage has cut short.
func (r *recoverer) isTorn(s *segment, at int64, behind behind) (bool, error) {
	if !mayBeTorn(r.outage, r.clean || r.whole && s.next < r.point, behind.found) || behind.durable {
		return false, nil
	}
	if r.outage != Killed {
		return true, nil
	}
	return beginsABatch(&r.scanner, s.file, at, s.size, chain{base: s.base, next: s.next})
}

// mayBeTorn reports whether bytes that are no batch can be a write that an outage has cut short; after a kill they have to be the
// beginning of a batch besides.
//
// What lies before the recovery point was synced, and so was everything before a clean stop: there nothing can be torn. Behind
// it the outage decides. A dead process leaves at most the beginning of its last write, so whole batches behind show that the
// bytes were whole once. After a reboot a lost page may stand before one that was kept, and none of it was promised. Where the
// outage is not known, only what has nothing of worth behind it is given up.
func mayBeTorn(o Outage, synced, behind bool) bool {
	return !synced && (!behind || o == Rebooted)
}

// beginsABatch reports whether a file of size bytes has behind byte at the beginning of a batch that chain accepts, or zeros.
func beginsABatch(sc *scanner, f io.ReaderAt, at, size int64, chain chain) (bool, error) {
	if size-at < record.HeaderLen {
		return true, nil // too little to tell; there is no batch in it
	}
	if _, ok, err := begun(sc, f, at, size, chain); ok || err != nil {
		return ok, err
	}
	sc.reset(f, at, size)
	return onlyZeros(sc)
}

// onlyZeros reports whether nothing but zeros stands between the scanner and its end.
func onlyZeros(sc *scanner) (bool, error) {
	for sc.pos < sc.end {
		n := int(min(sc.end-sc.pos, scanBuffer))
		w, err := sc.window(n)
		if err != nil {
			return false, err
		}
		if len(bytes.Trim(w, "\x00")) > 0 {
			return false, nil
		}
		sc.skip(n)
	}
	return true, nil
}

// behind is what stands behind a damaged place.
type behind struct {
	found   bool // a whole batch
	later   bool // one whose offset is above the place
	durable bool // one that tells that the damaged place was synced once
}

// batchesBehind looks for whole batches behind byte at of segment i.
func (r *recoverer) batchesBehind(i int, at int64) (b behind, err error) {
	lost := r.segs[i].next
	fn := func(batch record.Batch) bool {
		b.found = true
		b.later = b.later || batch.BaseOffset() > lost
		b.durable = r.durableAt != nil && r.durableAt(batch) > lost
		return !b.later || r.durableAt != nil && !b.durable
	}
	for j, s := range r.segs[i:] {
		if j == 0 {
			err = wholeBehind(&r.scanner, s.file, at, s.size, chain{base: s.base, next: s.next}, fn)
		} else {
			err = eachWhole(&r.scanner, s.file, 0, s.size, chain{base: s.base, next: s.base, epoch: moldau.NoEpoch}, fn)
		}
		if err != nil || b.later && r.durableAt == nil || b.durable {
			return b, err
		}
	}
	return b, nil
}

// wholeBehind calls fn with each whole batch of a file of size bytes behind byte at, where one was due that c accepts, until fn
// returns false. A bad offset or epoch before the place must not hide what is behind it, so any whole batch counts, one at the
// place itself too, which may be whole and in the wrong place.
func wholeBehind(sc *scanner, f io.ReaderAt, at, size int64, c chain, fn func(record.Batch) bool) error {
	whole := chain{base: c.base, next: c.base, epoch: moldau.NoEpoch}
	h, ok, err := begun(sc, f, at, size, c)
	if err != nil {
		return err
	}
	if ok { // the batch that is due, with too few bytes behind it: those may be records that are batches themselves
		whole.next = h.LastOffset() + 1
	}
	return eachWhole(sc, f, at, size, whole, fn)
}

// begun returns the header at byte at of a file of size bytes where it is that of a batch which chain accepts and which claims more
// bytes than are left.
func begun(sc *scanner, f io.ReaderAt, at, size int64, chain chain) (h record.Batch, ok bool, err error) {
	if size-at < record.HeaderLen {
		return nil, false, nil
	}
	sc.reset(f, at, size)
	w, err := sc.window(record.HeaderLen)
	if err != nil {
		return nil, false, err
	}
	h = record.Batch(w)
	due := h.Magic() == 2 && h.LastOffsetDelta() >= 0 && !chain.refuses(h) && h.LastOffset()-chain.base <= maxRelative
	return h, due && int64(h.Size()) > size-at, nil
}

// eachWhole calls fn with each whole batch of file between from and end that chain accepts, wherever it begins, until fn
// returns false.
func eachWhole(sc *scanner, file io.ReaderAt, from, end int64, chain chain, fn func(record.Batch) bool) error {
	for from < end {
		b, pos, err := findBatch(sc, file, from, end, chain)
		if err != nil || b == nil {
			return err
		}
		chain.next, chain.epoch = b.LastOffset()+1, max(chain.epoch, b.LeaderEpoch())
		size := b.Size()
		if !fn(b) {
			return nil
		}
		from = pos + int64(size)
	}
	return nil
}

// findBatch returns the first whole batch of file that begins at from or behind and ends before end, with its place; nil where
// there is none. Its header has to be one that chain accepts and its CRC has to be right, so that bytes which only look like a
// header are passed over. The batch is valid until the scanner is used again.
func findBatch(sc *scanner, file io.ReaderAt, from, end int64, chain chain) (record.Batch, int64, error) {
	const magicAt, magic = 16, 2
	for sc.reset(file, from, end); sc.end-sc.pos >= record.HeaderLen; sc.pos++ {
		if _, err := sc.window(record.HeaderLen); err != nil {
			return nil, 0, err
		}
		ahead := sc.buf[sc.pos-sc.at:]
		i := bytes.IndexByte(ahead[magicAt:], magic)
		if i < 0 {
			sc.pos += int64(len(ahead) - magicAt - 1)
			continue
		}
		sc.pos += int64(i)
		if len(ahead)-i >= record.HeaderLen && chain.refuses(record.Batch(ahead[i:])) {
			continue
		}
		h, err := sc.header()
		if err == nil {
			err = chain.follows(h)
		}
		var b record.Batch
		if err == nil {
			b, err = sc.whole(h)
		}
		if errors.Is(err, io.EOF) || errors.As(err, new(torn)) {
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		if b.CRCValid() {
			return b, sc.pos, nil
		}
	}
	return nil, 0, nil
}

// breakAt makes the log end before byte at of segment i for all who read it, and leaves the files as they are. What may be in
// the page cache alone is made durable, and the damage is noted: from here on nothing may take it for a torn write.
func (r *recoverer) breakAt(i int, at int64, behind bool) error {
	l, s := r.l, r.segs[i]
	d := &Damage{Offset: s.next, File: s.path + logExt, Byte: at, Reason: r.reason, Behind: behind}
	for _, later := range r.segs[i+1:] {
		d.Behind = d.Behind || later.size > 0
	}
	for _, s := range r.segs[i:] {
		if err := s.file.Sync(); err != nil {
			return err
		}
	}
	if err := env.WriteFile(l.fsys, l.dir, damageName, []byte(d.Error()+"\n")); err != nil {
		return fmt.Errorf("note the damage: %w", err)
	}
	if s.next <= r.logStart {
		return fmt.Errorf("%w: no record before it is left to be served", d) // as good as lost: offline, and never empty
	}
	for _, later := range r.segs[i+1:] {
		later.drop()
	}
	r.segs = slices.Clip(r.segs[:i+1])
	s.size = at
	l.damage = d
	return nil
}

// mended removes the note of an earlier damage: the files were brought back.
func (r *recoverer) mended() error {
	if !r.noted || r.l.damage != nil {
		return nil
	}
	r.note("the damage that an earlier start had found is gone")
	return errors.Join(r.l.fsys.Remove(filepath.Join(r.l.dir, damageName)), r.l.fsys.SyncDir(r.l.dir))
}
