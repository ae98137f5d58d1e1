package load

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Cluster is a broker, or several, under load.
type Cluster struct {
	// Address is host:port of any broker.
	Address string
	// Dial opens a connection, with TLS or a login where the cluster wants it; nil dials plain TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

// clientID is how the load calls itself towards the broker.
const clientID = "moldau-bench"

// answerMax bounds a frame that a broker may send.
const answerMax = 128 << 20

// Conn is one connection to one broker. It is used by one goroutine, or by one that writes and one that reads.
type Conn struct {
	net.Conn
	address  string
	format   *kmsg.RequestFormatter
	versions map[int16]int16 // key → the broker's highest version
	next     int32           // correlation id
	out, in  []byte
	stop     func() bool
}

// Connect dials the broker at address and asks which versions it speaks. Once ctx is done, everything that waits on the
// connection fails. The caller closes it.
func (c Cluster) Connect(ctx context.Context, address string) (*Conn, error) {
	dial := c.Dial
	if dial == nil {
		dial = func(ctx context.Context, address string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", address)
		}
	}
	nc, err := dial(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("connect to broker %s: %w", address, err)
	}
	conn := &Conn{Conn: nc, address: address, versions: map[int16]int16{},
		format: kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID))}
	conn.heed(ctx)
	answer, err := conn.Do(&kmsg.ApiVersionsRequest{})
	if err != nil {
		_ = conn.Close() // the first error is the one to tell
		return nil, err
	}
	for _, k := range answer.(*kmsg.ApiVersionsResponse).ApiKeys {
		conn.versions[k.ApiKey] = k.MaxVersion
	}
	return conn, nil
}

// heed makes everything that waits on the connection fail once ctx is done.
func (c *Conn) heed(ctx context.Context) {
	nc := c.Conn
	c.stop = context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
}

// block makes reads and writes wait in the kernel, so that what arrives wakes the thread that reads it: the way through
// the runtime's poller would be part of the latency that is to be measured. Connections that are more than a socket
// stay as they are.
func (c *Conn) block(ctx context.Context) error {
	tcp, ok := c.Conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	f, err := tcp.File()
	if err != nil {
		return fmt.Errorf("take the connection to broker %s: %w", c.address, err)
	}
	c.stop()
	_ = tcp.Close() // f is the same socket
	c.Conn = &blockingConn{File: f, local: tcp.LocalAddr(), remote: tcp.RemoteAddr()}
	c.heed(ctx)
	return nil
}

// Close ends the connection.
func (c *Conn) Close() error {
	c.stop()
	return c.Conn.Close()
}

// version is the highest that the broker, kmsg and the caller (limit) know of a key.
func (c *Conn) version(key, limit int16) int16 { return min(c.versions[key], limit) }

// Do sends one request in the highest version that both sides know and waits for its answer.
func (c *Conn) Do(r kmsg.Request) (kmsg.Response, error) {
	r.SetVersion(c.version(r.Key(), r.MaxVersion()))
	c.next++
	c.out = c.format.AppendRequest(c.out[:0], r, c.next)
	if _, err := c.Write(c.out); err != nil {
		return nil, fmt.Errorf("send %s to %s: %w", kmsg.NameForKey(r.Key()), c.address, err)
	}
	answer := r.ResponseKind()
	if err := c.receive(c.next, answer); err != nil {
		return nil, err
	}
	return answer, nil
}

// receive reads the answer to the request with the given correlation id. Its byte slices are good until the next call.
func (c *Conn) receive(id int32, answer kmsg.Response) error {
	name := kmsg.NameForKey(answer.Key())
	var err error
	if c.in, err = readFrame(c.Conn, c.in); err != nil {
		return fmt.Errorf("read answer to %s from %s: %w", name, c.address, err)
	}
	if len(c.in) < 4 || int32(binary.BigEndian.Uint32(c.in)) != id {
		return fmt.Errorf("read answer to %s from %s: it is not the answer to request %d", name, c.address, id)
	}
	body := c.in[4:]
	// The answer to ApiVersions has the old header in every version, so that any client can read it (KIP-511).
	if answer.IsFlexible() && answer.Key() != (&kmsg.ApiVersionsRequest{}).Key() {
		if len(body) == 0 || body[0] != 0 {
			return fmt.Errorf("read answer to %s from %s: its header bears tags", name, c.address)
		}
		body = body[1:]
	}
	if u, ok := answer.(interface{ UnsafeReadFrom([]byte) error }); ok {
		err = u.UnsafeReadFrom(body)
	} else {
		err = answer.ReadFrom(body)
	}
	if err != nil {
		return fmt.Errorf("decode answer to %s from %s: %w", name, c.address, err)
	}
	return nil
}

// readFrame reads one frame into buf, which grows as needed, and returns it without its length.
func readFrame(r io.Reader, buf []byte) ([]byte, error) {
	if cap(buf) < 4 {
		buf = make([]byte, 4, 512)
	}
	if _, err := io.ReadFull(r, buf[:4]); err != nil {
		return buf, err
	}
	n := int(binary.BigEndian.Uint32(buf[:4]))
	if n > answerMax {
		return buf, fmt.Errorf("a frame of %d bytes, more than %d: is this a Kafka broker?", n, answerMax)
	}
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	_, err := io.ReadFull(r, buf[:n])
	return buf[:n], err
}

// once connects to Address, sends one request and reads the answer.
func (c Cluster) once(ctx context.Context, r kmsg.Request) (kmsg.Response, error) {
	conn, err := c.Connect(ctx, c.Address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.Do(r)
}

// Await waits until the broker answers, or ctx is done.
func (c Cluster) Await(ctx context.Context) error {
	for {
		conn, err := c.Connect(ctx, c.Address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no broker at %s: %w", c.Address, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// CreateTopic makes a topic and waits until each of its partitions has a leader that serves it.
func (c Cluster) CreateTopic(ctx context.Context, name string, partitions int, config map[string]string) error {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, int32(partitions), -1
	for k, v := range config {
		kv := kmsg.NewCreateTopicsRequestTopicConfig()
		kv.Name, kv.Value = k, &v
		t.Configs = append(t.Configs, kv)
	}
	r := kmsg.NewPtrCreateTopicsRequest()
	r.TimeoutMillis = 30_000
	r.Topics = append(r.Topics, t)
	answer, err := c.once(ctx, r)
	if err != nil {
		return err
	}
	for _, t := range answer.(*kmsg.CreateTopicsResponse).Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			return fmt.Errorf("create topic %s: %w", name, err)
		}
	}
	for {
		err := c.serves(ctx, name, partitions)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the leaders of topic %s: %w", name, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// serves asks the leader of each partition something that only a leader answers: some learn late that they are.
func (c Cluster) serves(ctx context.Context, topic string, partitions int) error {
	leaders, err := c.Leaders(ctx, topic)
	if err != nil {
		return err
	}
	if len(leaders) != partitions {
		return fmt.Errorf("topic %s has %d partitions, want %d", topic, len(leaders), partitions)
	}
	for n, address := range leaders {
		conn, err := c.Connect(ctx, address)
		if err != nil {
			return err
		}
		_, err = conn.offsets(topic, []int32{int32(n)}, latest)
		_ = conn.Close() // nothing is on its way
		if err != nil {
			return err
		}
	}
	return nil
}

// DeleteTopic removes a topic.
func (c Cluster) DeleteTopic(ctx context.Context, name string) error {
	r := kmsg.NewPtrDeleteTopicsRequest()
	r.TimeoutMillis = 30_000
	t := kmsg.NewDeleteTopicsRequestTopic()
	t.Topic = &name
	r.Topics, r.TopicNames = append(r.Topics, t), []string{name}
	answer, err := c.once(ctx, r)
	if err != nil {
		return err
	}
	for _, t := range answer.(*kmsg.DeleteTopicsResponse).Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			return fmt.Errorf("delete topic %s: %w", name, err)
		}
	}
	return nil
}

// Leaders returns the address of the leader of each partition.
func (c Cluster) Leaders(ctx context.Context, topic string) ([]string, error) {
	r := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = &topic
	r.Topics = append(r.Topics, t)
	answer, err := c.once(ctx, r)
	if err != nil {
		return nil, err
	}
	m := answer.(*kmsg.MetadataResponse)
	address := map[int32]string{}
	for _, b := range m.Brokers {
		address[b.NodeID] = net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))
	}
	if len(m.Topics) != 1 {
		return nil, fmt.Errorf("metadata of topic %s: %d topics in the answer", topic, len(m.Topics))
	}
	if err := kerr.ErrorForCode(m.Topics[0].ErrorCode); err != nil {
		return nil, fmt.Errorf("metadata of topic %s: %w", topic, err)
	}
	leaders := make([]string, len(m.Topics[0].Partitions))
	for _, p := range m.Topics[0].Partitions {
		if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
			return nil, fmt.Errorf("metadata of partition %s-%d: %w", topic, p.Partition, err)
		}
		if int(p.Partition) >= len(leaders) || address[p.Leader] == "" {
			return nil, fmt.Errorf("metadata of partition %s-%d: broker %d is not in the answer", topic, p.Partition, p.Leader)
		}
		leaders[p.Partition] = address[p.Leader]
	}
	return leaders, nil
}

// Special timestamps of ListOffsets.
const (
	latest   = -1
	earliest = -2
)

// offsets asks the leader behind conn for the offset at a special timestamp.
func (c *Conn) offsets(topic string, partitions []int32, timestamp int64) (map[int32]int64, error) {
	r := kmsg.NewPtrListOffsetsRequest()
	r.ReplicaID = -1
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = topic
	for _, n := range partitions {
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp = n, timestamp
		t.Partitions = append(t.Partitions, p)
	}
	r.Topics = append(r.Topics, t)
	answer, err := c.Do(r)
	if err != nil {
		return nil, err
	}
	at := map[int32]int64{}
	for _, t := range answer.(*kmsg.ListOffsetsResponse).Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return nil, fmt.Errorf("offsets of partition %s-%d: %w", topic, p.Partition, err)
			}
			at[p.Partition] = p.Offset
		}
	}
	return at, nil
}
