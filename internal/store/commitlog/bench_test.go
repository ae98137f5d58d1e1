package commitlog_test

import (
	"fmt"
	"testing"
)

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{100, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			l := open(b, options(b))
			bt := batch(b, 1, 1000, size-70)
			b.SetBytes(int64(len(bt)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := l.Append(bt, 1); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkTailRead(b *testing.B) {
	l := open(b, options(b))
	bt := batch(b, 1, 1000, 900)
	for range 1000 {
		if _, err := l.Append(bt, 1); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		end := l.End()
		r, err := l.Read(end-10, 1<<20, end, true)
		if err != nil || r.Len == 0 {
			b.Fatal(r, err)
		}
		r.Release()
	}
}

func BenchmarkCatchUpRead(b *testing.B) {
	o := options(b)
	o.Config.SegmentBytes = 8 << 20
	l := open(b, o)
	bt := batch(b, 1, 1000, 1000)
	for range 32 << 10 {
		if _, err := l.Append(bt, 1); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	at := l.Start()
	for b.Loop() {
		r, err := l.Read(at, 100_000, l.End(), true)
		if err != nil || r.Len == 0 {
			b.Fatal(r, err)
		}
		r.Release()
		if at = r.Next; at > l.End()-1000 {
			at = l.Start()
		}
	}
}
