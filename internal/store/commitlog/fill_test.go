package commitlog_test

import (
	"errors"
	"testing"

	"github.com/moldau/moldau/internal/kit/env/memfs"
	. "github.com/moldau/moldau/internal/store/commitlog"
)

// A directory that is being filled is nobody's until it is finished, whatever is in it by then; filling it again begins with
// nothing, and what was not left unfinished is never emptied.
func TestFill(t *testing.T) {
	fsys := memfs.New()
	d, err := FillDirectory(fsys, "/data", "fill it")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Claim(me), fsys.MkdirAll("/data/orders-0"), d.Close()); err != nil {
		t.Fatal(err)
	}
	fsys = fsys.Crash(memfs.All, 0)
	_, err = OpenDirectory(fsys, "/data")
	wantError(t, err, "/data", "is not complete", "fill it", "run it again")
	if !errors.Is(err, ErrForeign) {
		t.Error("a start goes on without it")
	}
	if d, err = FillDirectory(fsys, "/data", "fill it anew"); err != nil {
		t.Fatal(err)
	}
	if _, ok := d.Identity(); ok {
		t.Error("it has the identity of the first try")
	}
	if ps, err := d.Partitions(); err != nil || len(ps) > 0 {
		t.Errorf("it has the partitions of the first try: %v, %v", ps, err)
	}
	if err := errors.Join(d.Claim(me), d.Finish(), d.Close()); err != nil {
		t.Fatal(err)
	}
	fsys = fsys.Crash(memfs.None, 0)
	if d, err = OpenDirectory(fsys, "/data"); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := FillDirectory(fsys, "/data", "fill it"); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("a directory in use is to be filled: %v", err)
	}
	d, err = Inspect(fsys, "/data")
	if err != nil {
		t.Fatal(err)
	}
	if id, ok := d.Identity(); !ok || id != me {
		t.Errorf("it is %+v", id)
	}
}
