package commitlog

import (
	"fmt"
	"io"

	"github.com/moldau/moldau/internal/proto/record"
)

// scanBuffer is the number of bytes that a scan over a segment reads at once; where only headers are wanted and batches
// are larger than strideMin, it reads sparseBuffer at each.
const (
	scanBuffer   = 256 << 10
	sparseBuffer = 512
	strideMin    = 16 << 10
)

// scanner walks the batches of a file in order. It is made once and reset for each file, so that its buffer is reused.
type scanner struct {
	file io.ReaderAt
	end  int64 // where the walk stops
	pos  int64 // of the next batch

	full   bool // whole batches are wanted, not only headers
	ahead  int  // bytes to read at once where not 0
	stride int  // size of the last batch

	buf []byte // bytes of the file from at on
	at  int64
}

func (s *scanner) reset(f io.ReaderAt, pos, end int64) {
	s.file, s.pos, s.end, s.full, s.stride = f, pos, end, false, 0
	s.buf = s.buf[:0]
	s.at = pos
}

// window returns n bytes from s.pos on, from the buffer or read anew. The caller has checked that they lie before end,
// which bounds what is allocated for a batch by the size of the file.
func (s *scanner) window(n int) ([]byte, error) {
	if from := s.pos - s.at; from >= 0 && from+int64(n) <= int64(len(s.buf)) {
		return s.buf[from : from+int64(n)], nil
	}
	ahead := int64(scanBuffer)
	if s.ahead > 0 {
		ahead = int64(s.ahead)
	}
	if !s.full && s.stride > strideMin {
		ahead = sparseBuffer
	}
	want := int(min(max(int64(n), ahead), s.end-s.pos))
	if cap(s.buf) < want {
		s.buf = make([]byte, want)
	}
	b, err := readSome(s.file, s.buf[:want], s.pos)
	if err != nil {
		return nil, err
	}
	s.buf, s.at = b, s.pos
	if len(b) < n {
		return nil, io.ErrUnexpectedEOF
	}
	return b[:n], nil
}

// torn says that the bytes at the scanner's position are not a batch.
type torn struct{ reason string }

func (t torn) Error() string { return t.reason }

// header returns the header of the next batch without its records, having checked that the batch lies before end. It
// returns io.EOF at the end, and a torn where no batch stands. The bytes are valid until the next call.
func (s *scanner) header() (record.Batch, error) {
	left := s.end - s.pos
	if left == 0 {
		return nil, io.EOF
	}
	if left < record.HeaderLen {
		return nil, torn{fmt.Sprintf("%d bytes are left, fewer than a batch header has", left)}
	}
	w, err := s.window(record.HeaderLen)
	if err != nil {
		return nil, err
	}
	b := record.Batch(w)
	switch size := b.Size(); {
	case size == record.Overhead && b.BaseOffset() == 0 && b.Magic() == 0:
		return nil, torn{"zeros where a batch should be"}
	case size < record.HeaderLen:
		return nil, torn{fmt.Sprintf("the batch claims %d bytes, fewer than its header has", size)}
	case int64(size) > left:
		return nil, torn{fmt.Sprintf("the batch claims %d bytes, %d are left", size, left)}
	case b.Magic() != 2:
		return nil, torn{fmt.Sprintf("the batch has magic %d, only 2 is known", b.Magic())}
	case b.LastOffsetDelta() < 0 || b.BaseOffset() < 0 || b.LastOffset() < b.BaseOffset():
		return nil, torn{fmt.Sprintf("the batch claims the offsets from %d to %d", b.BaseOffset(), b.LastOffset())}
	}
	return b, nil
}

// whole returns the batch whose header was returned last, with its records.
func (s *scanner) whole(header record.Batch) (record.Batch, error) {
	w, err := s.window(header.Size())
	return record.Batch(w), err
}

// skip moves past a batch of size bytes.
func (s *scanner) skip(size int) {
	s.pos += int64(size)
	s.stride = size
}
