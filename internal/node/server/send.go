package server

import (
	"fmt"
	"io"
	"net"
)

// sendfileMin is the size from which a region goes by sendfile; a smaller one costs less when it is read into the
// buffer that carries the bytes around it.
const sendfileMin = 32 << 10

// send writes a reply: runs of bytes and small regions gathered, large regions straight from their files. A short send
// leaves the stream in an unknown place, so any error ends the connection.
func (c *conn) send(r *Reply) error {
	if len(r.cuts) == 0 {
		return c.write(r.Buf)
	}
	c.expect(c.srv.opt.Limits.RequestArrival)
	defer c.stallAt.Store(0)
	var gather net.Buffers
	var scratch [][]byte
	defer func() {
		for _, b := range scratch {
			buffers.put(b)
		}
	}()
	from := 0
	for _, k := range r.cuts {
		if k.at > from {
			gather = append(gather, r.Buf[from:k.at])
			from = k.at
		}
		if k.region.Len < sendfileMin || !c.canSendfile(k.region) {
			pieces, err := readRegion(k.region)
			scratch = append(scratch, pieces...)
			if err != nil {
				return err
			}
			gather = append(gather, pieces...)
			continue
		}
		if err := c.writev(&gather, true); err != nil {
			return err
		}
		if err := c.sendfile(k.region); err != nil {
			return err
		}
	}
	if from < len(r.Buf) {
		gather = append(gather, r.Buf[from:])
	}
	return c.writev(&gather, false)
}

// readRegion reads a region into pooled buffers.
func readRegion(g Region) ([][]byte, error) {
	var pieces [][]byte
	for at := 0; at < g.Len; {
		b := buffers.get(min(g.Len-at, 1<<20))
		n, err := g.File.ReadAt(b, g.Pos+int64(at))
		if n < len(b) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return append(pieces, b), fmt.Errorf("read %s at %d: %w", g.File.Name(), g.Pos+int64(at), err)
		}
		pieces = append(pieces, b)
		at += n
	}
	return pieces, nil
}

// writev sends what was gathered and empties it. With more set, a part of the same response follows at once.
func (c *conn) writev(gather *net.Buffers, more bool) error {
	if len(*gather) == 0 {
		return nil
	}
	if len(*gather) == 1 {
		b := (*gather)[0]
		*gather = (*gather)[:0]
		if more {
			return c.writeMore(b)
		}
		return c.write(b)
	}
	pieces := *gather
	_, err := pieces.WriteTo(c.nc)
	*gather = (*gather)[:0]
	return err
}
