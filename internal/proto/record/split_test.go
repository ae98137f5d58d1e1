package record

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

func TestSplit(t *testing.T) {
	one := build(t, Compression{}, sample(3)...)
	two := build(t, Compression{Codec: LZ4}, sample(50)...)
	log := slices.Concat(one, two)

	got, rest, err := Split(log)
	if err != nil || !bytes.Equal(got, one) || !bytes.Equal(rest, two) || cap(got) != len(got) {
		t.Fatalf("first: %v, %d bytes left, %v", got, len(rest), err)
	}
	got, rest, err = Split(rest)
	if err != nil || !bytes.Equal(got, two) || len(rest) != 0 {
		t.Fatalf("second: %v, %d bytes left, %v", got, len(rest), err)
	}
	for n := range len(one) {
		got, rest, err := Split(log[:n])
		if got != nil || len(rest) != n || !errors.Is(err, ErrShort) {
			t.Fatalf("the first %d bytes: %v, %d bytes left, %v", n, got, len(rest), err)
		}
		size, err := SizeOf(log[:n])
		if n <= magicAt && err != ErrShort || n > magicAt && (err != nil || size != len(one)) {
			t.Fatalf("the first %d bytes: size %d, %v", n, size, err)
		}
	}
	for _, c := range []struct {
		name   string
		change func(Batch)
		want   error
	}{
		{"length 0", put32(lengthAt, 0), ErrLength},
		{"length of less than a header", put32(lengthAt, HeaderLen-Overhead-1), ErrLength},
		{"negative length", put32(lengthAt, -1), ErrLength},
		{"least length", put32(lengthAt, -1<<31), ErrLength},
		{"greatest length", put32(lengthAt, 1<<31-1), ErrShort},
		{"magic 1", func(b Batch) { b[magicAt] = 1 }, ErrMagic},
		{"magic 3", func(b Batch) { b[magicAt] = 3 }, ErrMagic},
	} {
		if _, _, err := Split(edit(one, c.change)); err != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { _, _, _ = Split(log); _, _, _ = Split(log[:30]) }); n != 0 {
		t.Errorf("Split allocates %v times", n)
	}
}

func FuzzSplit(f *testing.F) {
	for _, codec := range allCodecs {
		b := build(f, Compression{Codec: codec}, sample(3)...)
		f.Add([]byte(b))
		f.Add(slices.Concat([]byte(b), []byte(b[:HeaderLen])))
		f.Add([]byte(b[:len(b)-1]))
	}
	f.Add([]byte(BuildMarker(7, testNow, 1, 2, Marker{Commit: true})))
	f.Fuzz(func(t *testing.T, in []byte) {
		all := in
		for {
			before := len(in)
			b, rest, err := Split(in)
			if err != nil {
				if b != nil || len(rest) != before {
					t.Fatalf("error %v with batch %v and %d of %d bytes", err, b, len(rest), before)
				}
				break
			}
			if len(b) < HeaderLen || len(b) != b.Size() || len(b)+len(rest) != before || b.Magic() != 2 {
				t.Fatalf("%v of %d bytes, %d left of %d", b, len(b), len(rest), before)
			}
			_ = b.String()
			_, _ = b.Marker()
			_, _ = b.LastOffset(), b.LastSequence()
			in = rest
		}
		if !bytes.HasSuffix(all, in) {
			t.Fatal("the rest is not the end of the input")
		}
	})
}
