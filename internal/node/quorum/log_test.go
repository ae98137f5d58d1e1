package quorum

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/store/commitlog"
)

func openLog(t testing.TB, dir string) *CommitLog {
	t.Helper()
	l, err := OpenLog(env.Real(), dir, commitlog.Killed)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestOnDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "moldau-metadata")
	var want []string
	for round := range 3 {
		log := openLog(t, dir)
		o := options(dir, log)
		o.SnapshotBytes = 1 << 10
		began := time.Now()
		r := start(t, o)
		<-r.machine.led
		t.Log("from Open to leadership:", time.Since(began))
		r.wantList(want...)
		for i := range 50 {
			want = append(want, fmt.Sprintf("command %d of round %d", i, round))
			r.propose(want[len(want)-1])
		}
		r.wantList(want...)
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		if round == 1 { // as after kill -9
			continue
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// The log's prefix goes segment by segment.
func TestOnDiskPrefixIsDropped(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 40 MiB")
	}
	dir := t.TempDir()
	log := openLog(t, dir)
	o := options(dir, log)
	r := start(t, o)
	big := string(make([]byte, 1<<20))
	for range 40 {
		r.propose(big)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	var bytes int64
	segments, _ := filepath.Glob(filepath.Join(dir, "*.log"))
	for _, s := range segments {
		info, err := os.Stat(s)
		if err != nil {
			t.Fatal(err)
		}
		bytes += info.Size()
	}
	if bytes > 30<<20 {
		t.Errorf("%d segments hold %d bytes", len(segments), bytes)
	}
	log = openLog(t, dir)
	defer log.Close()
	o.Log = log
	r = start(t, o)
	<-r.machine.led
	if got := len(r.machine.list()); got != 40 {
		t.Errorf("%d entries are left of 40", got)
	}
	r.stop()
}
