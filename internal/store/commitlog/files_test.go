package commitlog_test

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env/memfs"
	. "github.com/moldau/moldau/internal/store/commitlog"
	"github.com/moldau/moldau/internal/store/filecache"
)

// TestManyLogsShareFiles appends to many logs of several segments and reads them with few files open.
func TestManyLogsShareFiles(t *testing.T) {
	t.Parallel()
	const logs, most = 30, 4
	fsys := memfs.New()
	files := filecache.New(most)
	all := make([]*Log, logs)
	for i := range all {
		c := DefaultConfig()
		c.SegmentBytes = 400
		l, err := Open(Options{FS: fsys, Files: files, Now: time.Now, Dir: fmt.Sprintf("/t-%d", i), Config: c})
		if err != nil {
			t.Fatal(err)
		}
		all[i] = l
	}
	for n := range 12 {
		for _, l := range all {
			if _, err := l.Append(batch(t, 1, moldau.Timestamp(1000+n), 100), 1); err != nil {
				t.Fatal(err)
			}
		}
		if n := fsys.Opened(); n > most {
			t.Fatalf("%d files are open, %d may be", n, most)
		}
	}
	for n := range 12 {
		for _, l := range all {
			r, err := l.Read(moldau.Offset(n), 1, l.End(), true)
			if err != nil || r.Next != moldau.Offset(n+1) {
				t.Fatalf("read at %d: %+v, %v", n, r, err)
			}
			if b, err := r.Append(nil); err != nil || len(b) != r.Len {
				t.Fatal(err)
			}
			r.Release()
			if st, ok, err := l.OffsetForTimestamp(moldau.Timestamp(1000+n), l.End()); err != nil || !ok || st.Offset != moldau.Offset(n) {
				t.Fatalf("offset for timestamp %d: %+v %v %v", 1000+n, st, ok, err)
			}
		}
		if n := fsys.Opened(); n > most {
			t.Fatalf("%d files are open, %d may be", n, most)
		}
	}
	for _, l := range all {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n := fsys.Opened(); n != 0 {
		t.Errorf("%d files are open at the end", n)
	}
}

// A region that is held when its segment is deleted and truncated away keeps its bytes, with no file to spare.
func TestRegionOutlivesItsFilesInASmallCache(t *testing.T) {
	t.Parallel()
	fsys := memfs.New()
	c := DefaultConfig()
	c.SegmentBytes, c.FileDeleteDelayMs, c.RetentionBytes = 400, 0, 1
	l, err := Open(Options{FS: fsys, Files: filecache.New(1), Now: time.Now, Dir: "/t-0", Config: c})
	if err != nil {
		t.Fatal(err)
	}
	for range 12 {
		if _, err := l.Append(batch(t, 1, 1000, 100), 1); err != nil {
			t.Fatal(err)
		}
	}
	var held []Region
	for _, at := range []moldau.Offset{0, 5, 11} {
		r, err := l.Read(at, 1, l.End(), true)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, r)
	}
	if _, err := l.TruncateTo(11); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Retain(time.Now(), l.End()); err != nil {
		t.Fatal(err)
	}
	if err := l.Sweep(time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, r := range held {
		b, err := r.Append(nil)
		if err != nil || len(b) != r.Len {
			t.Fatal(err)
		}
		r.Release()
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if n := fsys.Opened(); n != 0 {
		t.Errorf("%d files are open at the end", n)
	}
}

// Without a file descriptor an append, a roll, a flush and a read fail, and nothing else: the log goes on once there is one.
func TestTooManyFilesIsNoFailure(t *testing.T) {
	t.Parallel()
	fsys := memfs.New()
	c := DefaultConfig()
	c.SegmentBytes, c.FileDeleteDelayMs = 400, 0
	files := filecache.New(1)
	l, err := Open(Options{FS: fsys, Files: files, Now: time.Now, Dir: "/t-0", Config: c})
	if err != nil {
		t.Fatal(err)
	}
	other := files.On(fsys).File("/other")
	if err := other.Create(); err != nil {
		t.Fatal(err)
	}
	scarce := func() {
		if err := other.Acquire(); err != nil { // takes the place of whatever the log has open
			t.Fatal(err)
		}
		fsys.Hook = func(op memfs.Op) error {
			if op.Kind == "open" || op.Kind == "create" || op.Kind == "syncdir" {
				return &fs.PathError{Op: op.Kind, Path: op.Name, Err: syscall.EMFILE}
			}
			return nil
		}
	}
	plenty := func() {
		fsys.Hook = nil
		other.Release()
	}
	for n := range 12 {
		b := batch(t, 1, 1000, 100)
		scarce()
		if _, err := l.Append(b, 1); !errors.Is(err, ErrNoFiles) {
			t.Fatalf("append %d: %v", n, err)
		}
		if n > 0 {
			if _, err := l.Read(0, 1, l.End(), true); !errors.Is(err, ErrNoFiles) {
				t.Fatalf("read: %v", err)
			}
		}
		plenty()
		if at, err := l.Append(b, 1); err != nil || at.Base != moldau.Offset(n) {
			t.Fatalf("append %d: %+v, %v", n, at, err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	// What was appended before a kill is unsynced, and the file not open.
	if l, err = Open(Options{FS: fsys, Files: files, Now: time.Now, Dir: "/t-0", Config: c}); err != nil {
		t.Fatal(err)
	}
	scarce()
	if _, err := l.Flush(); !errors.Is(err, ErrNoFiles) {
		t.Fatalf("flush: %v", err)
	}
	plenty()
	if end, err := l.Flush(); err != nil || end != 12 {
		t.Fatalf("flush: %d, %v", end, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
