package memfs

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/moldau/moldau/internal/kit/env"
)

// history is a file /d/log that holds synced bytes and then two writes, and names that have changed since /d was synced.
func history(t *testing.T) *FS {
	f := New()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	create := func(name string) env.File {
		file, err := f.Create(name)
		check(err)
		return file
	}
	write := func(file env.File, off int, p string) {
		_, err := file.WriteAt([]byte(p), int64(off))
		check(err)
	}
	check(f.MkdirAll("/d"))
	log, checkpoint := create("/d/log"), create("/d/checkpoint")
	write(log, 0, strings.Repeat("s", 600))
	write(checkpoint, 0, "old")
	check(errors.Join(log.Sync(), checkpoint.Sync(), f.SyncDir("/d"), f.SyncDir("/")))
	write(log, 600, strings.Repeat("a", 600))
	write(log, 1200, strings.Repeat("b", 600))
	tmp := create("/d/checkpoint.tmp")
	write(tmp, 0, "new")
	check(tmp.Sync())
	check(f.Rename("/d/checkpoint.tmp", "/d/checkpoint"))
	create("/d/late")
	return f
}

// state is the names in /d with their content, each run of one letter in it told once.
func state(t *testing.T, f *FS) map[string]string {
	list, err := f.ReadDir("/d")
	if err != nil {
		t.Fatal(err)
	}
	state := map[string]string{}
	for _, e := range list {
		b, err := env.ReadFile(f, "/d/"+e.Name(), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		state[e.Name()] = string(slices.CompactFunc(b, func(a, b byte) bool { return a == b && a != 'w' }))
	}
	return state
}

func TestKeep(t *testing.T) {
	f := history(t)
	for keep, want := range map[Keep]map[string]string{
		None:    {"log": "s", "checkpoint": "old"},
		All:     {"log": "sab", "checkpoint": "new", "late": ""},
		Names:   {"log": "s", "checkpoint": "new", "late": ""},
		Content: {"log": "sab", "checkpoint": "old"},
		Zeros:   {"log": "s\x00", "checkpoint": "new", "late": ""},
	} {
		if got := state(t, f.Crash(keep, 0)); !maps.Equal(got, want) {
			t.Errorf("%v leaves %q, want %q", keep, got, want)
		}
	}
	if got := state(t, f); got["log"] != "sab" {
		t.Errorf("the file system that crashed has changed: %q", got)
	}
}

// TestKeepByChance: what is left to chance has each outcome that it may have, and no other.
func TestKeepByChance(t *testing.T) {
	f := history(t)
	for _, c := range []struct {
		keep       Keep
		logs       []string // of all that there may be
		checkpoint []string
	}{
		{Ordered, []string{"s", "sa", "sab"}, []string{"old", "new"}},
		{Torn, []string{"sa", "sab"}, []string{"new"}},
		{Some, []string{ // the blocks after the first are one of s and perhaps a, one of perhaps a and perhaps b, one of perhaps b
			"s", "s\x00", "s\x00a", "s\x00a\x00", "s\x00a\x00b", "s\x00ab", "s\x00ab\x00", "s\x00b",
			"sa", "sa\x00", "sa\x00b", "sab", "sab\x00",
		}, []string{"old", "new"}},
	} {
		logs, checkpoints := map[string]bool{}, map[string]bool{}
		lengths := map[int64]bool{}
		for seed := range uint64(400) {
			after := f.Crash(c.keep, seed)
			if again := state(t, f.Crash(c.keep, seed)); !maps.Equal(again, state(t, after)) {
				t.Fatalf("%v: two outcomes of one seed", c.keep)
			}
			logs[state(t, after)["log"]] = true
			checkpoints[state(t, after)["checkpoint"]] = true
			info, err := after.Stat("/d/log")
			if err != nil {
				t.Fatal(err)
			}
			lengths[info.Size()] = true
		}
		if got := slices.Sorted(maps.Keys(logs)); !slices.Equal(got, slices.Sorted(slices.Values(c.logs))) {
			t.Errorf("%v leaves the logs %q", c.keep, got)
		}
		if got := slices.Sorted(maps.Keys(checkpoints)); !slices.Equal(got, slices.Sorted(slices.Values(c.checkpoint))) {
			t.Errorf("%v leaves the checkpoints %q", c.keep, got)
		}
		if c.keep != Some && len(lengths) < 100 {
			t.Errorf("%v: %d lengths, and a write is cut off at any byte", c.keep, len(lengths))
		}
	}
}

// TestNoise: what a file has grown by may be anything, what was synced may not.
func TestNoise(t *testing.T) {
	f := history(t)
	b, err := env.ReadFile(f.Crash(Noise, 1), "/d/log", 1<<20)
	if err != nil || len(b) != 1800 || !bytes.Equal(b[:600], bytes.Repeat([]byte("s"), 600)) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if n := bytes.Count(b[600:], []byte{0}); n > 50 {
		t.Errorf("%d of 1200 bytes are 0", n)
	}
}

// TestNamesInOrder: a name is never what it was to become later without having become what came first, and a rename is never
// half kept within a directory; between two directories it may be.
func TestNamesInOrder(t *testing.T) {
	f := New()
	var errs error
	for _, dir := range []string{"/d", "/e"} {
		errs = errors.Join(errs, f.MkdirAll(dir))
	}
	for _, name := range []string{"/d/a", "/d/m"} {
		file, err := f.Create(name)
		if err == nil {
			_, err = file.WriteAt([]byte(name), 0)
		}
		errs = errors.Join(errs, err, file.Sync())
	}
	errs = errors.Join(errs, f.SyncDir("/"), f.SyncDir("/d"), f.SyncDir("/e"), f.Rename("/d/a", "/d/b"), f.Rename("/d/b", "/d/c"), f.Rename("/d/m", "/e/m"))
	if errs != nil {
		t.Fatal(errs)
	}
	names, moved := map[string]bool{}, map[int]bool{}
	for seed := range uint64(200) {
		after := f.Crash(Some, seed)
		got, copies := "", 0
		for _, name := range []string{"/d/a", "/d/b", "/d/c"} {
			if b, err := env.ReadFile(after, name, 10); err == nil && string(b) == "/d/a" {
				got += name
			}
		}
		for _, name := range []string{"/d/m", "/e/m"} {
			if _, err := after.Stat(name); err == nil {
				copies++
			}
		}
		names[got], moved[copies] = true, true
	}
	if len(names) != 3 || names[""] || !names["/d/a"] || !names["/d/b"] || !names["/d/c"] {
		t.Errorf("the file has the names %v", names)
	}
	if len(moved) != 3 {
		t.Errorf("what was moved to another directory is there so many times: %v", moved)
	}
}

// TestHalfRemoved: RemoveAll takes away one name after the other.
func TestHalfRemoved(t *testing.T) {
	f := New()
	errs := f.MkdirAll("/d/sub")
	for _, name := range []string{"/d/a", "/d/b", "/d/sub/c"} {
		_, err := f.Create(name)
		errs = errors.Join(errs, err)
	}
	v, err := f.OpenVolume("/")
	if errs = errors.Join(errs, err, v.Sync(), f.RemoveAll("/d")); errs != nil {
		t.Fatal(errs)
	}
	if _, err := f.Crash(All, 0).Stat("/d"); err == nil {
		t.Error("it is not removed")
	}
	left := map[int]bool{}
	for seed := range uint64(100) {
		list, err := f.Crash(Some, seed).ReadDir("/d")
		if err != nil {
			continue
		}
		left[len(list)] = true
	}
	if len(left) != 4 {
		t.Errorf("so many names are left: %v", left)
	}
}
