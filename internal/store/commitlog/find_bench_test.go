package commitlog

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/moldau/moldau"
)

// BenchmarkFindBatch looks for a batch where there is none: what a start does behind damage.
func BenchmarkFindBatch(b *testing.B) {
	const size = 16 << 20
	random := make([]byte, size)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(random) // never fails
	for name, content := range map[string][]byte{"zeros": make([]byte, size), "random": random, "text": bytes.Repeat([]byte("moldau "), size/7)} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(content)))
			var sc scanner
			for b.Loop() {
				if found, _, err := findBatch(&sc, bytes.NewReader(content), 0, int64(len(content)), chain{epoch: moldau.NoEpoch}); found != nil || err != nil {
					b.Fatal(found, err)
				}
			}
		})
	}
}
