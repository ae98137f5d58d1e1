package server

import (
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/moldau/moldau/internal/kit/env"
)

const (
	// sendfileMin is the size from which a region goes by sendfile; a smaller one costs less when it is read into the
	// buffer that carries the bytes around it.
	sendfileMin = 32 << 10
	// gatherMax is how many bytes of regions are in memory at a time, however large the response is.
	gatherMax = 256 << 10
)

// gathered is what the next write takes: runs of a reply's bytes, and copies of small regions.
type gathered struct {
	pieces net.Buffers
	copies [][]byte // the pieces that go back to the pool
	size   int      // bytes in copies
}

func (g *gathered) recycle() {
	for _, b := range g.copies {
		buffers.put(b)
	}
	clear(g.copies)
	clear(g.pieces)
	g.pieces, g.copies, g.size = g.pieces[:0], g.copies[:0], 0
}

// send writes a reply: runs of bytes and small regions gathered, large regions straight from their files. A short send
// leaves the stream in an unknown place, so any error ends the connection.
func (c *conn) send(r *Reply) error {
	if r.mute > 0 { // before the client has the response, and can answer with its next request
		c.mutedUntil.Store(c.srv.opt.Env.Clock.Now().Add(r.mute).UnixNano())
	}
	if len(r.cuts) == 0 {
		return c.write(r.Buf)
	}
	g := &r.gathered
	defer g.recycle()
	from := 0
	for _, k := range r.cuts {
		if k.at > from {
			g.pieces = append(g.pieces, r.Buf[from:k.at])
			from = k.at
		}
		if err := c.sendRegion(g, k.region); err != nil {
			return err
		}
	}
	if from < len(r.Buf) {
		g.pieces = append(g.pieces, r.Buf[from:])
	}
	return c.writev(g, false)
}

// sendRegion sends a region from its file behind what was gathered, or gathers it.
func (c *conn) sendRegion(g *gathered, region Region) error {
	if region.Len >= sendfileMin && c.canSendfile(region) {
		if err := c.writev(g, true); err != nil {
			return err
		}
		c.leave(region)
		if err := c.sendfile(region); !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	for at := 0; at < region.Len; {
		b := buffers.get(min(region.Len-at, gatherMax))
		g.copies = append(g.copies, b)
		n, err := region.File.ReadAt(b, region.Pos+int64(at))
		if n < len(b) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read %s at %d: %w", region.File.Name(), region.Pos+int64(at), err)
		}
		g.pieces = append(g.pieces, b)
		g.size += n
		at += n
		if g.size >= gatherMax {
			if err := c.writev(g, true); err != nil {
				return err
			}
		}
	}
	return nil
}

const (
	// readAheadMax is more than the kernel reads ahead of a reader.
	readAheadMax = 64 << 20
	// sendBehindMax is more than the kernel has sent and the peer has not taken: it holds on to those pages.
	sendBehindMax = 8 << 20
)

// leave takes what a reader of old data has left behind out of the page cache: what lies further on in the file is not there, so that it
// is this reader who brings it in, and nobody else has asked for it lately. A consumer that catches up over days of data would fill the
// memory with what it does not read again, and push out what others do (ADR 0014). g is about to be sent.
func (c *conn) leave(g Region) {
	if g.Traces == nil {
		return
	}
	size, err := g.File.Size()
	if err != nil || env.Resident(g.File, max(min(g.Pos+readAheadMax, size-int64(g.Len)), 0), g.Len) {
		return
	}
	if from, first := g.Traces.Follow(g.Pos, g.Len, c.srv.opt.Env.Clock.Now()); first {
		to := g.Pos - sendBehindMax
		if from = max(from, to-sendBehindMax); from < to {
			env.Drop(g.File, from, int(to-from))
		}
		c.srv.metrics.ColdBytesOut.Add(int64(g.Len))
	}
}

// writev sends what was gathered and empties it. With more set, a part of the same response follows at once.
func (c *conn) writev(g *gathered, more bool) error {
	if len(g.pieces) == 0 {
		return nil
	}
	defer g.recycle()
	if len(g.pieces) == 1 && more {
		return c.writeMore(g.pieces[0])
	}
	if len(g.pieces) == 1 {
		return c.write(g.pieces[0])
	}
	c.taking.begin(g.size)
	defer c.taking.end()
	pieces := g.pieces // WriteTo consumes it
	_, err := pieces.WriteTo(c.nc)
	return err
}

// write sends plain bytes. A peer that takes nothing for long is given up by the sweep.
func (c *conn) write(b []byte) error {
	c.taking.begin(len(b))
	defer c.taking.end()
	_, err := c.nc.Write(b)
	return err
}
