package commitlog_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env/memfs"
	. "github.com/moldau/moldau/internal/store/commitlog"
)

// TestLogWithoutFiles: what can be asked of a log and done to it, one that was never written answers as one that Open has found
// empty, and no file comes of it.
func TestLogWithoutFiles(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1_700_000_000_000)
	for _, c := range []struct {
		what string
		do   func(l *Log) (any, error)
	}{
		{"start", func(l *Log) (any, error) { return l.Start(), nil }},
		{"end", func(l *Log) (any, error) { return l.End(), nil }},
		{"size", func(l *Log) (any, error) { return l.Size(), nil }},
		{"offset for a timestamp", func(l *Log) (any, error) { return answer(l.OffsetForTimestamp(5, l.End())) }},
		{"offset for timestamp 0", func(l *Log) (any, error) { return answer(l.OffsetForTimestamp(0, l.End())) }},
		{"highest timestamp", func(l *Log) (any, error) { return answer(l.MaxTimestamp()) }},
		{"last timestamp", func(l *Log) (any, error) { return l.LastTimestamp() }},
		{"aborted transactions", func(l *Log) (any, error) { return l.AbortedIn(0, 10) }},
		{"a read at the end", func(l *Log) (any, error) { r, err := l.Read(0, 100, l.End(), true); return r.Len, err }},
		{"a read above it", func(l *Log) (any, error) { r, err := l.Read(1, 100, l.End(), true); return r.Len, err }},
		{"epoch end", func(l *Log) (any, error) { e, at := l.EpochEnd(3); return []any{e, at}, nil }},
		{"producers", func(l *Log) (any, error) { return l.Producers(), nil }},
		{"dirt", func(l *Log) (any, error) { return l.Dirt(now, l.End()) }},
		{"retention", func(l *Log) (any, error) { return l.Retain(now, l.End()) }},
		{"start advanced to 0", func(l *Log) (any, error) { return nil, l.AdvanceStart(0) }},
		{"cut at 0", func(l *Log) (any, error) { return l.TruncateTo(0) }},
		{"sweep", func(l *Log) (any, error) { return nil, l.Sweep(now) }},
		{"flush", func(l *Log) (any, error) { return l.Flush() }},
		{"close", func(l *Log) (any, error) { return nil, l.Close() }},
	} {
		t.Run(c.what, func(t *testing.T) {
			options := func() Options {
				return Options{FS: memfs.New(), Now: func() time.Time { return now }, Dir: "/t-0", Partition: moldau.TopicPartition{Topic: "t"}, Config: DefaultConfig()}
			}
			o := options()
			unwritten, empty := New(o), open(t, options())
			defer unwritten.Close()
			defer empty.Close()
			got, gotErr := c.do(unwritten)
			want, wantErr := c.do(empty)
			if fmt.Sprint(got) != fmt.Sprint(want) || fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
				t.Errorf("%v, %v; an empty log with files: %v, %v", got, gotErr, want, wantErr)
			}
			if _, err := o.FS.Stat("/t-0"); err == nil {
				t.Error("a directory came of it")
			}
		})
	}
}

func answer(st Stamp, ok bool, err error) (any, error) {
	if !ok {
		return nil, err
	}
	return st, err
}
