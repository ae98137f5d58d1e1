package commitlog

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/kit/env/memfs"
	"github.com/moldau/moldau/internal/proto/record"
)

// drawing is a structure as docs/format draws it: its fields, and for a text the lines.
type drawing struct {
	fields []field
	end    int // byte behind the last field with a length; -1 where there are none
	lines  []string
	used   bool
}

type field struct {
	name    string
	at, len int
}

var (
	titleLine = regexp.MustCompile(`^    ([^ |].*)$`)
	fieldLine = regexp.MustCompile(`^ +(\d+) +(\d+)  ([^:]+)`)
	textLine  = regexp.MustCompile(`^    \| ?(.*)$`)
)

// drawings reads the structures of a page: a title that is indented by four, and below it fields or lines.
func drawings(t *testing.T, page string) map[string]*drawing {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "format", page))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*drawing{}
	var now *drawing
	for line := range strings.Lines(string(b)) {
		line = strings.TrimRight(line, "\n")
		switch {
		case now != nil && textLine.MatchString(line):
			now.lines = append(now.lines, textLine.FindStringSubmatch(line)[1])
		case now != nil && fieldLine.MatchString(line):
			m := fieldLine.FindStringSubmatch(line)
			at, _ := strconv.Atoi(m[1])
			n, _ := strconv.Atoi(m[2])
			if at != now.end {
				t.Errorf("%s: %q begins at byte %d, what is before ends at %d", page, m[3], at, now.end)
			}
			now.fields = append(now.fields, field{m[3], at, n})
			now.end = at + n
		case titleLine.MatchString(line):
			now = &drawing{}
			all[titleLine.FindStringSubmatch(line)[1]] = now
		case !strings.HasPrefix(line, "    "):
			now = nil
		}
	}
	for name, d := range all {
		if len(d.fields) == 0 && len(d.lines) == 0 {
			delete(all, name)
		}
	}
	return all
}

// decode reads b by the drawing: numbers of up to 8 bytes, signed; longer fields are text.
func (d *drawing) decode(b []byte, unsigned ...string) map[string]any {
	d.used = true
	values := map[string]any{}
	for _, f := range d.fields {
		var n int64
		for _, c := range b[f.at : f.at+f.len] {
			n = n<<8 | int64(c)
		}
		if shift := 64 - 8*f.len; shift > 0 && !strings.Contains(strings.Join(unsigned, "|"), f.name) {
			n = n << shift >> shift
		}
		values[f.name] = n
		if f.len > 8 || f.name == "magic" && f.len == 8 {
			values[f.name] = string(b[f.at : f.at+f.len])
		}
	}
	return values
}

func (d *drawing) expect(t *testing.T, what string, b []byte, size int, want map[string]any, unsigned ...string) {
	t.Helper()
	if d == nil {
		t.Fatalf("%s is not drawn", what)
	}
	if d.end != size {
		t.Errorf("%s is drawn with %d bytes, it has %d", what, d.end, size)
	}
	got := d.decode(b, unsigned...)
	if len(got) != len(want) {
		t.Errorf("%s is drawn with %d fields, want %d", what, len(got), len(want))
	}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s, field %q: by the drawing %v, the code wrote %v", what, name, got[name], value)
		}
	}
}

// TestFormatOfLogs compares docs/format/log.md with the constants of the code and with what the code writes.
func TestFormatOfLogs(t *testing.T) {
	d := drawings(t, "log.md")
	b := record.NewBuilder(1000)
	b.LeaderEpoch, b.ProducerID, b.ProducerEpoch, b.BaseSequence, b.Transactional = 3, 77, 5, 9, true
	b.Add(record.Record{Timestamp: 111, Key: []byte("k"), Value: []byte("v")})
	b.Add(record.Record{Timestamp: 222, Key: []byte("k"), Value: []byte("v")})
	batch, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	d["batch"].expect(t, "a batch", batch, record.HeaderLen, map[string]any{
		"base offset": int64(1000), "length": int64(len(batch) - record.Overhead), "leader epoch": int64(3), "magic": int64(2), "crc": int64(batch.CRC()),
		"attributes": int64(0x10), "last offset delta": int64(1), "base timestamp": int64(111), "max timestamp": int64(222),
		"producer id": int64(77), "producer epoch": int64(5), "base sequence": int64(9), "count": int64(2),
	}, "crc")
	marker := record.BuildMarker(7, 1, 2, 3, record.Marker{Commit: true, CoordinatorEpoch: 6})
	for r, err := range marker.Records(nil, len(marker)) {
		if err != nil {
			t.Fatal(err)
		}
		d["marker key"].expect(t, "the key of a marker", r.Key, len(r.Key), map[string]any{"version": int64(0), "type": int64(1)})
		d["marker value"].expect(t, "the value of a marker", r.Value, len(r.Value), map[string]any{"version": int64(0), "coordinator epoch": int64(6)})
	}
	d["index entry"].expect(t, "an index entry", offsetEntry{5, 600}.append(nil), offsetEntryLen, map[string]any{"relative offset": int64(5), "position": int64(600)})
	d["time index entry"].expect(t, "a time index entry", timeEntry{1234, 5}.append(nil), timeEntryLen, map[string]any{"timestamp": int64(1234), "relative offset": int64(5)})
	d["transaction index entry"].expect(t, "a transaction index entry", Aborted{4, 10, 12, 9}.append(nil), abortedEntryLen, map[string]any{
		"version": int64(abortedVersion), "producer id": int64(4), "first offset": int64(10), "last offset": int64(12), "last stable offset": int64(9),
	})
	snapshotByItsDrawing(t, d, batch)

	fsys := memfs.New()
	if err := fsys.MkdirAll("/p"); err != nil {
		t.Fatal(err)
	}
	if err := (epochTable{{0, 0}, {3, 40}}).write(fsys, "/p"); err != nil {
		t.Fatal(err)
	}
	d[epochsName].expectText(t, fsys, "/p/"+epochsName, true)
	if err := WriteTopicID(fsys, "/p", moldau.TopicID{1}); err != nil {
		t.Fatal(err)
	}
	d[metadataName].expectText(t, fsys, "/p/"+metadataName, false)
	allDrawingsUsed(t, d)
}

// snapshotByItsDrawing is the state of one producer after one batch.
func snapshotByItsDrawing(t *testing.T, d map[string]*drawing, batch record.Batch) {
	t.Helper()
	var table producerTable
	table.reset(1000)
	table.replay(batch, time.Time{})
	file := table.encode()
	d["snapshot head"].expect(t, "the head of a snapshot", file, snapshotHeadLen, map[string]any{
		"version": int64(snapshotVersion), "crc": int64(binary.BigEndian.Uint32(file[snapshotCRCAt:])), "count": int64(1),
	}, "crc")
	d["snapshot entry"].expect(t, "an entry of a snapshot", file[snapshotHeadLen:], snapshotEntryLen, map[string]any{
		"producer id": int64(77), "producer epoch": int64(5), "last sequence": int64(10), "last offset": int64(1001), "offset delta": int64(1),
		"timestamp": int64(222), "coordinator epoch": int64(-1), "transaction start": int64(1000),
	})
}

// expectText compares the lines of a drawing with a file.
func (d *drawing) expectText(t *testing.T, fsys env.FS, path string, ended bool) {
	t.Helper()
	if d == nil {
		t.Fatalf("%s is not drawn", path)
	}
	d.used = true
	want := strings.Join(d.lines, "\n")
	if ended {
		want += "\n"
	}
	got, err := env.ReadFile(fsys, path, 1<<16)
	if err != nil || string(got) != want {
		t.Errorf("%s is drawn as\n%s\nthe code writes\n%s%v", path, want, got, err)
	}
}

// allDrawingsUsed finds what is drawn and compared with nothing.
func allDrawingsUsed(t *testing.T, d map[string]*drawing) {
	t.Helper()
	for name, one := range d {
		if !one.used {
			t.Errorf("%q is drawn and compared with nothing", name)
		}
	}
}

// TestFormatOfDirectories compares docs/format/directory.md with what the code writes.
func TestFormatOfDirectories(t *testing.T) {
	d := drawings(t, "directory.md")
	fsys := memfs.New()
	dir, err := OpenDirectory(fsys, "/d")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	orders := func(i int32) moldau.TopicPartition { return moldau.TopicPartition{Topic: "orders", Partition: i} }
	const boot = "6f1bd9a2-3c58-4b8a-9a55-1f2f6f1d0c11"
	_, err = dir.BeginBoot(boot, true)
	for _, write := range []func() error{
		func() error {
			return dir.Claim(Identity{ClusterID: moldau.UUID{1}.String(), NodeID: 7, DirectoryID: moldau.DirectoryID{2}})
		},
		func() error { return dir.WriteCleanMarker(12) },
		func() error {
			return dir.WriteCheckpoint(RecoveryPoints, map[moldau.TopicPartition]moldau.Offset{orders(0): 40, orders(1): 7})
		},
		func() error {
			return dir.WriteMoves([]Move{{Partition: orders(1), TopicID: moldau.TopicID{9}, To: moldau.DirectoryID{3}}})
		},
		func() error { return dir.Enlist(map[moldau.TopicPartition]moldau.TopicID{orders(5): {9}}) },
	} {
		if err == nil {
			err = write()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	d[metaName].expectText(t, fsys, "/d/"+metaName, true)
	d[cleanName].expectText(t, fsys, "/d/"+cleanName, false)
	d["offset checkpoint"].expectText(t, fsys, "/d/"+string(RecoveryPoints), true)
	d[movesName].expectText(t, fsys, "/d/"+movesName, true)
	d[bootName].expectText(t, fsys, "/d/"+bootName, true)
	filled, err := FillDirectory(fsys, "/filled", "moldau import /var/lib/kafka --to /var/lib/moldau")
	if err != nil {
		t.Fatal(err)
	}
	defer filled.Close()
	d[unfinishedName].expectText(t, fsys, "/filled/"+unfinishedName, true)
	b, err := env.ReadFile(fsys, "/d/"+manifestName, 1<<16)
	if err != nil {
		t.Fatal(err)
	}
	d["manifest head"].expect(t, "the head of the manifest", b, manifestHead, map[string]any{"magic": manifestMagic, "version": int64(manifestVersion)})
	entry := b[manifestHead:]
	id := moldau.TopicID{9}
	d["manifest entry"].expect(t, "an entry of the manifest", entry, entryHead+entryFixed, map[string]any{
		"length": int64(len(entry) - entryHead), "crc": int64(binary.BigEndian.Uint32(entry[4:])), "operation": int64(enlistOp),
		"partition": int64(5), "topic id": string(id[:]),
	}, "crc")
	if topic := string(entry[entryHead+entryFixed:]); topic != "orders" {
		t.Errorf("behind the fields of an entry stands %q", topic)
	}
	if s := d["moldau.scrub"]; s != nil {
		s.used = true // the broker writes it, and compares it
	}
	allDrawingsUsed(t, d)
}

// TestDrawingsAreRead plants errors: a drawing that cannot be wrong proves nothing.
func TestDrawingsAreRead(t *testing.T) {
	d := drawings(t, "log.md")
	entry := *d["index entry"]
	entry.fields = append([]field(nil), entry.fields...)
	entry.fields[0].len, entry.fields[1].at = 3, 3
	var quiet testing.T
	entry.expect(&quiet, "a wrong entry", offsetEntry{5, 600}.append(nil), offsetEntryLen, map[string]any{"relative offset": int64(5), "position": int64(600)})
	if !quiet.Failed() {
		t.Error("a wrong drawing was taken")
	}
}
