package commitlog

import "github.com/moldau/moldau/internal/proto/record"

// Batches reads every batch of the log from the files of its view, those below its start too.
func (l *Log) Batches() ([]record.Batch, error) {
	v := l.view.Load()
	var all []record.Batch
	for i, s := range v.segs {
		bytes := make([]byte, v.bounds(i).pos)
		if n, err := s.file.ReadAt(bytes, 0); n < len(bytes) {
			return nil, err
		}
		for len(bytes) > 0 {
			size := record.Batch(bytes).Size()
			all = append(all, record.Batch(bytes[:size:size]))
			bytes = bytes[size:]
		}
	}
	return all, nil
}
