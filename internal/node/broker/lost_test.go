package broker

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/proto/config"
)

// Files that are lost or damaged while the broker is down take their partition offline. An empty one in its place would
// lose the records without a word.
func TestLostFilesAreNotAnEmptyPartition(t *testing.T) {
	for name, lose := range map[string]func(dir string) error{
		"directory": os.RemoveAll,
		"all files": func(dir string) error {
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
			return os.Mkdir(dir, 0o755)
		},
		"log":       func(dir string) error { return os.Remove(filepath.Join(dir, "00000000000000000000.log")) },
		"empty log": func(dir string) error { return os.Truncate(filepath.Join(dir, "00000000000000000000.log"), 0) },
		"topic id": func(dir string) error {
			other := "version: 0\ntopic_id: " + moldau.NewUUID(env.Real().Rand).String()
			return os.WriteFile(filepath.Join(dir, "partition.metadata"), []byte(other), 0o644)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			b, stop := start(t, dir)
			c := client(t, b)
			create(t, c, "t", 1)
			produce(t, c, "t", "a", "b")
			stop()
			if err := lose(filepath.Join(dir, "t-0")); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second start is after a stop with the partition offline
				b, stop = start(t, dir)
				p := b.partitions.Get(b.cluster.Image().Topic("t").ID, 0)
				<-p.Settled()
				if p.Online() || p.Failure() == nil {
					t.Fatalf("the partition is online and ends at %d", p.Log().End())
				}
				stop()
				if _, err := os.Stat(filepath.Join(dir, ".kafka_cleanshutdown")); err == nil {
					t.Error("the stop is marked clean")
				}
			}
		})
	}
}

// A partition's directory that is lost together with the manifest is missed: the checkpoints tell of it.
func TestLostWithTheManifest(t *testing.T) {
	dir := t.TempDir()
	b, stop := start(t, dir)
	c := client(t, b)
	create(t, c, "t", 1)
	create(t, c, "never-written", 1)
	produce(t, c, "t", "a", "b")
	stop()
	for _, name := range []string{"moldau.manifest", "t-0", "never-written-0"} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the second start has a manifest again
		b, stop = start(t, dir)
		p := b.partitions.Get(b.cluster.Image().Topic("t").ID, 0)
		<-p.Settled()
		if p.Online() || p.Failure() == nil {
			t.Fatalf("the partition is online and ends at %d", p.Log().End())
		}
		produce(t, client(t, b), "never-written", "a")
		stop()
	}
}

// A kill at the first write to a partition leaves a directory without files, in the manifest or not yet. It is no loss.
func TestKilledAtTheFirstWrite(t *testing.T) {
	for _, listed := range []bool{true, false} {
		dir := t.TempDir()
		b, stop := start(t, dir)
		c := client(t, b)
		create(t, c, "t", 1)
		produce(t, c, "t", "first")
		stop()
		for _, name := range []string{"recovery-point-offset-checkpoint", "replication-offset-checkpoint", "log-start-offset-checkpoint", ".kafka_cleanshutdown"} {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		if !listed {
			if err := os.Truncate(filepath.Join(dir, "moldau.manifest"), 12); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.RemoveAll(filepath.Join(dir, "t-0")); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(dir, "t-0"), 0o755); err != nil {
			t.Fatal(err)
		}
		b, _ = start(t, dir)
		produce(t, client(t, b), "t", "a")
		if got := read(t, b, "t", 1); got[0] != "a" {
			t.Errorf("listed %v: it reads %q", listed, got)
		}
	}
}

// mkdirs is a file system that calls fn before a directory is made.
type mkdirs struct {
	env.FS
	fn func(dir string)
}

func (f mkdirs) MkdirAll(dir string) error {
	f.fn(dir)
	return f.FS.MkdirAll(dir)
}

// The manifest lists a partition once its directory is there. The other way round, a kill in between looks at the next start
// like the loss of the directory, and an empty partition that nobody has written to is offline for good.
func TestManifestListsNoDirectoryThatIsYetToBeMade(t *testing.T) {
	dir := t.TempDir()
	settings, err := config.Merge(nil, nil, []string{"log.dirs=" + dir, "listeners=PLAINTEXT://127.0.0.1:0", "moldau.http.listener="})
	if err != nil {
		t.Fatal(err)
	}
	e := env.Real()
	early := make(chan string, 100)
	e.FS = mkdirs{e.FS, func(made string) {
		b, err := os.ReadFile(filepath.Join(dir, "moldau.manifest"))
		if err == nil && strings.HasPrefix(filepath.Base(made), "orders-") && strings.Contains(string(b), "orders") {
			if _, err := os.Stat(made); err != nil {
				early <- made
			}
		}
	}}
	b, err := Start(Options{Env: e, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Static: settings.Static()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Stop() }()
	c := client(t, b)
	create(t, c, "orders", 3)
	for range 3 {
		produce(t, c, "orders", "a")
	}
	select {
	case made := <-early:
		t.Errorf("%s was in the manifest before it was made", made)
	default:
	}
}

// Without its metadata a broker does not begin a new cluster on logs that are there.
func TestLostMetadataIsNotANewCluster(t *testing.T) {
	dir := t.TempDir()
	b, stop := start(t, dir)
	c := client(t, b)
	create(t, c, "t", 1)
	produce(t, c, "t", "a")
	stop()
	if err := os.Rename(filepath.Join(dir, metadataDir), filepath.Join(dir, "away")); err != nil {
		t.Fatal(err)
	}
	settings, err := config.Merge(nil, nil, []string{"log.dirs=" + dir, "listeners=PLAINTEXT://127.0.0.1:0", "moldau.http.listener="})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		b, err := Start(Options{Env: env.Real(), Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Static: settings.Static()})
		if err == nil {
			_ = b.Stop()
			t.Fatal("it started")
		}
		if !strings.Contains(err.Error(), "the metadata was lost") {
			t.Error(err)
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, metadataDir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "away"), filepath.Join(dir, metadataDir)); err != nil {
		t.Fatal(err)
	}
	b, _ = start(t, dir)
	if got := read(t, b, "t", 1); got[0] != "a" {
		t.Errorf("it reads %q", got)
	}
}
