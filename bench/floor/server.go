package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// frameMax bounds a request.
const frameMax = 100 << 20

// sendBuffer is the size of a socket's buffer, that of Kafka's socket.send.buffer.bytes. With one that the kernel lets grow
// to megabytes, sendfile takes twice the time.
const sendBuffer = 100 << 10

// served is what ApiVersions tells: key and versions.
var served = []struct{ key, min, max int16 }{
	{0, 3, 12}, {1, 4, 12}, {2, 1, 7}, {3, 0, 9}, {18, 0, 4}, {19, 2, 6}, {20, 1, 5}, {22, 0, 4},
}

type server struct {
	topics     *topics
	listener   net.Listener
	host       string
	port       int32
	producerID atomic.Int64
}

func newServer(dir string, l net.Listener) *server {
	host, port, _ := net.SplitHostPort(l.Addr().String()) // an address of our own listener has both
	n, _ := strconv.Atoi(port)
	return &server{topics: newTopics(dir), listener: l, host: host, port: int32(n)}
}

// accept serves connections until the listener is closed.
func (s *server) accept() error {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return err
		}
		go func() { // ends with the connection
			defer c.Close()
			conn := &conn{server: s, tcp: c.(*net.TCPConn), in: make([]byte, 256<<10)}
			_ = conn.tcp.SetWriteBuffer(sendBuffer) // a hint
			if err := conn.serve(); err != nil {
				fmt.Fprintf(os.Stderr, "connection from %s: %v\n", c.RemoteAddr(), err)
			}
		}()
	}
}

// conn is one connection: requests are read into in as they come, several with one read, and answered in order. Answers
// gather in out until no whole request is left to read.
type conn struct {
	server  *server
	tcp     *net.TCPConn
	in      []byte
	r, w    int // unread bytes of in
	out     []byte
	produce produceRequest
}

func (c *conn) serve() error {
	for {
		frame, err := c.next()
		if err != nil || frame == nil {
			return err
		}
		if err := c.handle(frame); err != nil {
			return err
		}
	}
}

// next returns the next frame without its length, nil at the end of the connection.
func (c *conn) next() ([]byte, error) {
	for {
		if have := c.w - c.r; have >= 4 {
			n := int(binary.BigEndian.Uint32(c.in[c.r:]))
			if n > frameMax || n < 8 {
				return nil, fmt.Errorf("a frame of %d bytes", n)
			}
			if have >= 4+n {
				frame := c.in[c.r+4 : c.r+4+n]
				c.r += 4 + n
				return frame, nil
			}
			c.room(4 + n)
		}
		if err := c.flush(); err != nil {
			return nil, err
		}
		if c.r == c.w {
			c.r, c.w = 0, 0
		} else {
			c.room(4)
		}
		n, err := c.tcp.Read(c.in[c.w:])
		if n == 0 && err != nil {
			return nil, nil // the client has gone
		}
		c.w += n
	}
}

// room makes in big enough for n unread bytes.
func (c *conn) room(n int) {
	if c.r+n <= len(c.in) && c.w < len(c.in) {
		return
	}
	to := c.in
	if n > len(to) {
		to = make([]byte, n)
	}
	c.w = copy(to, c.in[c.r:c.w])
	c.r, c.in = 0, to
}

func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.tcp.Write(c.out)
	c.out = c.out[:0]
	return err
}

// handle answers one request.
func (c *conn) handle(frame []byte) error {
	be := binary.BigEndian
	if len(frame) < 10 {
		return fmt.Errorf("a request of %d bytes", len(frame))
	}
	k, version, id := int16(be.Uint16(frame)), int16(be.Uint16(frame[2:])), be.Uint32(frame[4:])
	var request kmsg.Request
	flexible := version >= 9 // a Produce request
	if k != 0 {
		if request = kmsg.RequestForKey(k); request == nil {
			return fmt.Errorf("a request with key %d", k)
		}
		request.SetVersion(version)
		flexible = request.IsFlexible()
	}
	body := frame[10:]
	if n := int16(be.Uint16(frame[8:])); n > 0 {
		body = body[min(int(n), len(body)):]
	}
	if flexible {
		if len(body) == 0 || body[0] != 0 {
			return fmt.Errorf("a request header with tags, or without an end")
		}
		body = body[1:]
	}
	c.out = append(c.out, 0, 0, 0, 0)
	at := len(c.out) - 4
	c.out = be.AppendUint32(c.out, id)
	if flexible && k != 18 {
		c.out = append(c.out, 0)
	}
	if k == 0 {
		err := c.answerProduce(version, body)
		c.seal(at, 0)
		return err
	}
	if err := request.ReadFrom(body); err != nil {
		return fmt.Errorf("a request with key %d: %w", k, err)
	}
	if f, ok := request.(*kmsg.FetchRequest); ok {
		return c.answerFetch(f, at)
	}
	answer, err := c.server.answer(request)
	if err != nil {
		return err
	}
	answer.SetVersion(version)
	c.out = answer.AppendTo(c.out)
	c.seal(at, 0)
	return nil
}

// seal writes the length of the answer that begins at at; more bytes follow by sendfile.
func (c *conn) seal(at int, more int64) {
	binary.BigEndian.PutUint32(c.out[at:], uint32(int64(len(c.out)-at-4)+more))
}

func (c *conn) answerProduce(version int16, body []byte) error {
	p := &c.produce
	if err := p.parse(version, body); err != nil {
		return err
	}
	for i := range p.batches {
		b := &p.batches[i]
		part, err := c.server.topics.partition(p.topic, b.partition)
		if err != nil {
			return err
		}
		if b.base, err = part.append(b.bytes); err != nil {
			return err
		}
	}
	c.out = p.appendAnswer(c.out, version)
	return nil
}

// answerFetch serves the partitions of a request one after another, each by sendfile, and waits only for the first.
func (c *conn) answerFetch(f *kmsg.FetchRequest, at int) error {
	if len(f.Topics) != 1 {
		return fmt.Errorf("a fetch of %d topics", len(f.Topics))
	}
	t := f.Topics[0]
	answer := kmsg.NewPtrFetchResponse()
	answer.Version = f.Version
	answer.Topics = []kmsg.FetchResponseTopic{{Topic: t.Topic}}
	deadline := time.Now().Add(time.Duration(f.MaxWaitMillis) * time.Millisecond)
	type region struct {
		p      *partition
		pos, n int64
	}
	var regions []region
	var more int64
	for _, p := range t.Partitions {
		part, err := c.server.topics.partition([]byte(t.Topic), p.Partition)
		if err != nil {
			return err
		}
		if len(t.Partitions) > 1 {
			deadline = time.Time{}
		}
		pos, n, end := part.region(p.FetchOffset, int64(p.PartitionMaxBytes), deadline)
		a := kmsg.NewFetchResponseTopicPartition()
		a.Partition, a.HighWatermark, a.LastStableOffset, a.LogStartOffset = p.Partition, end, end, 0
		answer.Topics[0].Partitions = append(answer.Topics[0].Partitions, a)
		regions = append(regions, region{part, pos, n})
		more += n
	}
	parts := splitFetch(answer)
	for i, r := range regions {
		parts[i] = appendLength(parts[i], f.Version, r.n)
		more += int64(len(parts[i]))
	}
	more += int64(len(parts[len(regions)]))
	c.seal(at, more)
	for i, r := range regions {
		c.out = append(c.out, parts[i]...)
		if r.n == 0 {
			continue
		}
		if err := c.flush(); err != nil {
			return err
		}
		if err := sendFile(c.tcp, r.p.file, r.pos, r.n); err != nil {
			return fmt.Errorf("send %d bytes: %w", r.n, err)
		}
	}
	c.out = append(c.out, parts[len(regions)]...)
	return nil
}

// answer answers everything that is not about records.
func (s *server) answer(r kmsg.Request) (kmsg.Response, error) {
	switch r := r.(type) {
	case *kmsg.ApiVersionsRequest:
		a := kmsg.NewPtrApiVersionsResponse()
		for _, k := range served {
			a.ApiKeys = append(a.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: k.key, MinVersion: k.min, MaxVersion: k.max})
		}
		return a, nil
	case *kmsg.MetadataRequest:
		return s.metadata(r), nil
	case *kmsg.CreateTopicsRequest:
		a := kmsg.NewPtrCreateTopicsResponse()
		for _, t := range r.Topics {
			s.topics.create(t.Topic, t.NumPartitions)
			n := kmsg.NewCreateTopicsResponseTopic()
			n.Topic, n.NumPartitions, n.ReplicationFactor = t.Topic, t.NumPartitions, 1
			a.Topics = append(a.Topics, n)
		}
		return a, nil
	case *kmsg.DeleteTopicsRequest:
		a := kmsg.NewPtrDeleteTopicsResponse()
		for _, name := range r.TopicNames {
			s.topics.remove(name)
			n := kmsg.NewDeleteTopicsResponseTopic()
			n.Topic = &name
			a.Topics = append(a.Topics, n)
		}
		return a, nil
	case *kmsg.ListOffsetsRequest:
		return s.listOffsets(r)
	case *kmsg.InitProducerIDRequest:
		a := kmsg.NewPtrInitProducerIDResponse()
		a.ProducerID = s.producerID.Add(1)
		return a, nil
	}
	return nil, fmt.Errorf("a request with key %d, which is not served", r.Key())
}

func (s *server) metadata(r *kmsg.MetadataRequest) kmsg.Response {
	a := kmsg.NewPtrMetadataResponse()
	b := kmsg.NewMetadataResponseBroker()
	b.NodeID, b.Host, b.Port = 1, s.host, s.port
	a.Brokers, a.ControllerID = append(a.Brokers, b), 1
	for _, t := range r.Topics {
		n := kmsg.NewMetadataResponseTopic()
		n.Topic = t.Topic
		if t.Topic != nil {
			for i := range s.topics.partitions(*t.Topic) {
				p := kmsg.NewMetadataResponseTopicPartition()
				p.Partition, p.Leader, p.LeaderEpoch, p.Replicas, p.ISR = i, 1, 0, []int32{1}, []int32{1}
				n.Partitions = append(n.Partitions, p)
			}
		}
		a.Topics = append(a.Topics, n)
	}
	return a
}

func (s *server) listOffsets(r *kmsg.ListOffsetsRequest) (kmsg.Response, error) {
	a := kmsg.NewPtrListOffsetsResponse()
	for _, t := range r.Topics {
		n := kmsg.NewListOffsetsResponseTopic()
		n.Topic = t.Topic
		for _, p := range t.Partitions {
			part, err := s.topics.partition([]byte(t.Topic), p.Partition)
			if err != nil {
				return nil, err
			}
			np := kmsg.NewListOffsetsResponseTopicPartition()
			np.Partition, np.Timestamp = p.Partition, -1
			if np.Offset = 0; p.Timestamp == -1 {
				np.Offset = part.end()
			}
			n.Partitions = append(n.Partitions, np)
		}
		a.Topics = append(a.Topics, n)
	}
	return a, nil
}
