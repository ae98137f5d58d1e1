package quorum

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// drawn is a field as docs/format/quorum.md draws it: "byte length name".
type drawn struct {
	name    string
	at, len int
}

// drawings reads the fields below each title; those of the header that all files have are under "".
func drawings(t *testing.T) map[string][]drawn {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "format", "quorum.md"))
	if err != nil {
		t.Fatal(err)
	}
	title := regexp.MustCompile(`^    ([a-z-]+) +magic`)
	line := regexp.MustCompile(`^    +(\d+) +(\d+) (.+)$`)
	all, now := map[string][]drawn{}, ""
	for text := range strings.Lines(string(b)) {
		text = strings.TrimRight(text, "\n")
		if m := title.FindStringSubmatch(text); m != nil {
			now = m[1]
		} else if m := line.FindStringSubmatch(text); m != nil {
			at, _ := strconv.Atoi(m[1])
			n, _ := strconv.Atoi(m[2])
			name, _, _ := strings.Cut(m[3], ":")
			all[now] = append(all[now], drawn{name, at, n})
		}
	}
	return all
}

// value is the field whose name begins so, as a number.
func value(t *testing.T, fields []drawn, b []byte, name string) (n uint64) {
	t.Helper()
	for _, f := range fields {
		if strings.HasPrefix(f.name, name) {
			for _, c := range b[f.at : f.at+f.len] {
				n = n<<8 | uint64(c)
			}
			return n
		}
	}
	t.Errorf("%q is not drawn", name)
	return 0
}

// The files are what docs/format/quorum.md draws: its fields join without a hole, and read what the code writes.
func TestFormatOfFiles(t *testing.T) {
	d := drawings(t)
	state := encodeState(state{self: moldau.DirectoryID{1, 2}, term: 7, vote: 9, index: 11, voters: []Voter{{3, moldau.DirectoryID{4}}}})
	check := encodeCheckpoint(checkpoint{position: position{4711, 3}, voters: []Voter{{3, moldau.DirectoryID{4}}}, data: []byte("x")})
	for _, file := range []struct {
		title string
		body  int // fixed bytes of it
		b     []byte
		want  map[string]uint64
	}{
		{"quorum-state", 40, state, map[string]uint64{"directory id": 0, "term": 7, "vote": 9, "index": 11}},
		{"checkpoint", 12, check, map[string]uint64{"end offset": 4711, "leader epoch": 3}},
	} {
		for title, size := range map[string]int{"": fileHeaderLen, file.title: file.body} {
			end := 0
			for _, f := range d[title] {
				if f.at != end {
					t.Errorf("%q: %q begins at byte %d, what is before ends at %d", title, f.name, f.at, end)
				}
				end = f.at + f.len
			}
			if end != size {
				t.Errorf("%q is drawn with %d bytes, it has %d", title, end, size)
			}
		}
		head := d[""]
		if string(file.b[:8]) != map[string]string{"quorum-state": stateMagic, "checkpoint": checkpointMagic}[file.title] ||
			value(t, head, file.b, "version") != fileVersion || value(t, head, file.b, "length") != uint64(len(file.b)-fileHeaderLen) ||
			value(t, head, file.b, "CRC") != uint64(binary.BigEndian.Uint32(file.b[fileCRCAt:])) {
			t.Errorf("the header of %s is not what is drawn: %x", file.title, file.b[:fileHeaderLen])
		}
		for name, want := range file.want {
			if got := value(t, d[file.title], file.b[fileHeaderLen:], name); got != want && name != "directory id" {
				t.Errorf("%s, field %q: by the drawing %d, the code wrote %d", file.title, name, got, want)
			}
		}
	}
	id := value(t, d["quorum-state"][:1], state[fileHeaderLen:], "directory id")
	if fields := d["quorum-state"]; fields[0].len != 16 || id != 0 { // the last 8 of its 16 bytes
		t.Errorf("the directory id is drawn as %+v", fields[0])
	}
	kind, term, index := pb.EntryNormal, uint64(3), uint64(8)
	b, err := encodeEntry(&pb.Entry{Type: &kind, Term: &term, Index: &index}, 99, 5)
	if err != nil || DurableAt(b) != 5 || !strings.Contains(string(b), `durable`) {
		t.Errorf("the entry %v tells of %d: %v", b, DurableAt(b), err)
	}
}

// After a power loss a damaged entry with whole ones behind it is cut off only where none of those says that it was durable: then
// nobody was told of it. Else it was committed, and the log is not opened (NATS 7556).
func TestDamagedEntryAfterAPowerLoss(t *testing.T) {
	for _, c := range []struct {
		durable []moldau.Offset // that each of six entries tells
		outage  commitlog.Outage
		end     moldau.Offset // -1: it is not opened
	}{
		{[]moldau.Offset{0, 1, 2, 3, 4, 5}, commitlog.Rebooted, -1},
		{[]moldau.Offset{0, 1, 2, 2, 2, 2}, commitlog.Rebooted, 2}, // entries 2 to 5 waited for one sync
		{[]moldau.Offset{0, 1, 1, 1, 1, 3}, commitlog.Rebooted, -1},
		{[]moldau.Offset{0, 1, 2, 2, 2, 2}, commitlog.Killed, -1},
		{[]moldau.Offset{0, 1, 2, 2, 2, 2}, commitlog.Unknown, -1},
	} {
		for _, at := range []int{8, 16, 70} { // size, magic, content
			dir := t.TempDir()
			log := openLog(t, dir)
			kind, term, pos := pb.EntryNormal, uint64(1), 0
			for i, durable := range c.durable {
				index := uint64(i + 1)
				b, err := encodeEntry(&pb.Entry{Type: &kind, Term: &term, Index: &index, Data: []byte("entry")}, 99, durable)
				if err == nil {
					err = log.Append(b)
				}
				if err != nil {
					t.Fatal(err)
				}
				if i < 2 {
					pos += len(b)
				}
			}
			if err := log.Close(); err != nil {
				t.Fatal(err)
			}
			name := filepath.Join(dir, "00000000000000000000.log")
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			b[pos+at] ^= 1
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
			log, err = OpenLog(env.Real(), dir, c.outage)
			switch {
			case c.end < 0 && err == nil:
				t.Errorf("%+v, byte %d: it was opened and ends at %d", c, at, log.End())
			case c.end >= 0 && (err != nil || log.End() != c.end):
				t.Errorf("%+v, byte %d: %v", c, at, err)
			}
			if err == nil {
				_ = log.Close()
			}
		}
	}
}
