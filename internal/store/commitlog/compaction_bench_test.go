package commitlog_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/proto/record"
	. "github.com/moldau/moldau/internal/store/commitlog"
)

// BenchmarkCompaction is a pass over 256 MiB of records of 1 KiB in batches of 64 KiB, every key of which occurs twice, on a real file
// system. Bytes are those of the log; each is read twice, and half of them are written.
func BenchmarkCompaction(b *testing.B) {
	const records, batch = 256 << 10, 60
	for b.Loop() {
		b.StopTimer()
		c := DefaultConfig()
		c.SegmentBytes = 64 << 20
		o := Options{FS: env.OS{}, Now: time.Now, Dir: b.TempDir() + "/t-0", Partition: topic, Config: c}
		log, err := Open(o)
		if err != nil {
			b.Fatal(err)
		}
		r := rand.New(rand.NewPCG(1, 2))
		value := make([]byte, 1000)
		for n := 0; n < records; n += batch {
			bd := record.NewBuilder(0)
			for range batch {
				bd.Add(record.Record{Timestamp: 1, Key: binary.BigEndian.AppendUint64(nil, r.Uint64N(records/2)), Value: value})
			}
			raw, err := bd.Build(nil)
			if err == nil {
				_, err = log.Append(raw, 0)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		if _, err := log.Flush(); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(log.Size())
		b.StartTimer()
		pass, err := log.BeginCompaction(CompactionOptions{Limit: moldau.Offset(records), Now: time.Now(), MapBytes: 128 << 20, MapLoad: 0.9, BufferBytes: 256 << 10})
		for err == nil {
			var stage Stage
			if _, stage, err = pass.Step(); stage == Ready && err == nil {
				err = pass.Commit()
			}
			if stage == Done {
				break
			}
		}
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		pass.Abandon()
		if err := log.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
