package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// collect reads all lines of in (and files) as place and text.
func collect(t *testing.T, in string, files ...string) ([]string, error) {
	t.Helper()
	lines := make(chan line, 100)
	err := readLines(context.Background(), strings.NewReader(in), files, lines)
	close(lines)
	var got []string
	for l := range lines {
		got = append(got, l.place()+" "+string(l.text))
		if l.text == nil {
			t.Error("a line is nil, and would become a null value")
		}
	}
	return got, err
}

func TestReadLines(t *testing.T) {
	long := strings.Repeat("x", 600<<10) // longer than the read buffer
	file := filepath.Join(t.TempDir(), "a.log")
	if err := os.WriteFile(file, []byte("f1\nf2"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		in    string
		files []string
		want  []string
	}{
		{"", nil, nil},
		{"a\nb\n", nil, []string{"<stdin>:1 a", "<stdin>:2 b"}},
		{"a\nb", nil, []string{"<stdin>:1 a", "<stdin>:2 b"}},
		{"\n\n", nil, []string{"<stdin>:1 ", "<stdin>:2 "}},
		{"a\r\n", nil, []string{"<stdin>:1 a\r"}},
		{long + "\nb", nil, []string{"<stdin>:1 " + long, "<stdin>:2 b"}},
		{"s\n", []string{file, "-"}, []string{file + ":1 f1", file + ":2 f2", "<stdin>:1 s"}},
	} {
		got, err := collect(t, c.in, c.files...)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%.20q %v: %.200q, %v, want %.200q", c.in, c.files, got, err, c.want)
		}
	}
	if _, err := collect(t, "", filepath.Join(t.TempDir(), "absent")); err == nil {
		t.Error("an absent file is no error")
	}
}

func TestReadLinesEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := readLines(ctx, strings.NewReader("a\n"), nil, make(chan line)); err == nil {
		t.Error("nobody takes the line and the context is done, but there is no error")
	}
}

func TestTextParser(t *testing.T) {
	key := "k"
	for _, c := range []struct {
		parser     textParser
		line       string
		key, value []byte
	}{
		{textParser{}, "a:1", nil, []byte("a:1")},
		{textParser{key: &key}, "v", []byte("k"), []byte("v")},
		{textParser{separator: ":"}, "a:1:2", []byte("a"), []byte("1:2")},
		{textParser{separator: "=>"}, "a=>1", []byte("a"), []byte("1")},
		{textParser{separator: ":"}, ":", []byte{}, []byte{}},
		{textParser{separator: ":", tombstone: true}, "a:", []byte("a"), nil},
		{textParser{separator: ":"}, "a:", []byte("a"), []byte{}},
		{textParser{}, "", nil, []byte{}},
	} {
		r, err := c.parser.parse([]byte(c.line))
		if err != nil {
			t.Errorf("%q: %v", c.line, err)
			continue
		}
		if !reflect.DeepEqual(r.Key, c.key) || !reflect.DeepEqual(r.Value, c.value) || r.Partition != anyPartition {
			t.Errorf("%q: key %q, value %q, partition %d, want %q, %q, any", c.line, r.Key, r.Value, r.Partition, c.key, c.value)
		}
	}
	if _, err := (textParser{separator: "\t"}).parse([]byte("no tab")); err == nil || !strings.Contains(err.Error(), `"\t"`) {
		t.Errorf("a line without separator: error %v, want one that names it", err)
	}
}

func TestProduceOptions(t *testing.T) {
	o := produceOptions{separator: `\t`, headers: []string{"a=1", "b=", "c=x=y"}, partition: 3}
	parse, err := o.parser(false)
	if err != nil {
		t.Fatal(err)
	}
	r, err := parse([]byte("k\tv"))
	want := []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "b", Value: []byte{}}, {Key: "c", Value: []byte("x=y")}}
	if err != nil || !reflect.DeepEqual(r.Headers, want) || r.Partition != 3 || string(r.Key) != "k" {
		t.Errorf("%v, %v; want headers %v, partition 3, key k", r, err, want)
	}
	for _, bad := range []produceOptions{{separator: `\q`}, {headers: []string{"novalue"}}} {
		if _, err := bad.parser(false); err == nil {
			t.Errorf("%+v: no error", bad)
		}
	}
}

func TestParseJSONRecord(t *testing.T) {
	for _, c := range []struct {
		line string
		want kgo.Record
	}{
		{`{}`, kgo.Record{Partition: -1}},
		{`{"key":"k","value":"v"}`, kgo.Record{Partition: -1, Key: []byte("k"), Value: []byte("v")}},
		{`{"key":null,"value":""}`, kgo.Record{Partition: -1, Value: []byte{}}},
		{`{"value":{"b":1, "a":[2]}}`, kgo.Record{Partition: -1, Value: []byte(`{"b":1, "a":[2]}`)}},
		{`{"value":12.50}`, kgo.Record{Partition: -1, Value: []byte("12.50")}},
		{`{"valueBase64":"/wA=","keyBase64":""}`, kgo.Record{Partition: -1, Key: []byte{}, Value: []byte{0xff, 0}}},
		{`{"partition":4,"topic":"x","offset":9}`, kgo.Record{Partition: 4}},
		{`{"timestamp":1700000000000}`, kgo.Record{Partition: -1, Timestamp: time.UnixMilli(1700000000000)}},
		{`{"headers":{"z":"1","a":"2","z":null}}`, kgo.Record{Partition: -1, Headers: []kgo.RecordHeader{
			{Key: "z", Value: []byte("1")}, {Key: "a", Value: []byte("2")}, {Key: "z"}}}},
		{`{"headers":[{"key":"a","value":"1"},{"key":"a","valueBase64":"/w=="}]}`, kgo.Record{Partition: -1, Headers: []kgo.RecordHeader{
			{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte{0xff}}}}},
	} {
		got, err := parseJSONRecord([]byte(c.line))
		if err != nil || !reflect.DeepEqual(*got, c.want) {
			t.Errorf("%s: %+v, %v, want %+v", c.line, got, err, c.want)
		}
	}
	if r, err := parseJSONRecord([]byte(`{"timestamp":"2026-01-01T00:00:00Z"}`)); err != nil || r.Timestamp.UnixMilli() != 1767225600000 {
		t.Errorf("a time in RFC 3339: %v, %v", r, err)
	}
	for line, want := range map[string]string{
		``:                                   "not a JSON record",
		`7`:                                  "not a JSON record",
		`{"vlaue":"x"}`:                      `unknown field "vlaue"`,
		`{} {}`:                              "something follows",
		`{"value":"a","valueBase64":"YQ"}`:   "",
		`{"value":"a","valueBase64":"YQ=="}`: "both given",
		`{"partition":-1}`:                   "negative",
		`{"partition":"1"}`:                  "partition",
		`{"timestamp":"noon"}`:               "timestamp",
		`{"headers":"a"}`:                    "headers",
		`{"headers":[{"name":1}]}`:           "",
	} {
		if _, err := parseJSONRecord([]byte(line)); err == nil && want != "" || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q in it", line, err, want)
		}
	}
}

func TestJSONRecordSurvivesTheWayThereAndBack(t *testing.T) {
	for _, r := range []*kgo.Record{
		testRecord(),
		{Topic: "t", Timestamp: time.UnixMilli(0)},
		{Topic: "t", Timestamp: time.UnixMilli(5), Key: []byte{}, Value: []byte("<a>&\u2028\"\n\x00")},
		{Topic: "t", Timestamp: time.UnixMilli(5), Headers: []kgo.RecordHeader{{Key: "x", Value: []byte{}}, {Key: "x"}, {Key: "", Value: []byte{0x80}}}},
	} {
		text, err := appendJSONRecord(nil, r)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasSuffix(text, []byte("\n")) || bytes.Count(text, []byte("\n")) != 1 {
			t.Errorf("%q is not one line", text)
		}
		got, err := parseJSONRecord(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if !reflect.DeepEqual(got.Key, r.Key) || !reflect.DeepEqual(got.Value, r.Value) || !reflect.DeepEqual(got.Headers, r.Headers) ||
			got.Partition != r.Partition || !got.Timestamp.Equal(r.Timestamp) {
			t.Errorf("%s\nread back: %+v\nwant:      %+v", text, got, r)
		}
	}
}

func FuzzParseJSONRecord(f *testing.F) {
	f.Add([]byte(`{"key":"7","value":{"total":9.5},"headers":{"v":"1"},"timestamp":1700000000000,"partition":2}`))
	f.Add([]byte(`{"headers":[{"key":"a","valueBase64":"/w=="}]}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := parseJSONRecord(line)
		if err != nil {
			return
		}
		text, err := appendJSONRecord(nil, r)
		if err != nil {
			t.Fatal(err)
		}
		if r.Partition == anyPartition {
			return // what is consumed has a partition
		}
		again, err := parseJSONRecord(text)
		if err != nil || !bytes.Equal(again.Key, r.Key) || !bytes.Equal(again.Value, r.Value) {
			t.Fatalf("%q became %q: %v", line, text, err)
		}
	})
}
