package traps

import (
	"encoding/binary"
	"errors"
	"flag"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau/test/subject"
)

var (
	seed          = flag.Uint64("seed", 1, "of the hostile conversations")
	conversations = flag.Int("conversations", 400, "how many hostile conversations there are")
)

// atOnce is how many conversations go on at a time.
const atOnce = 4

// TestHostileConversations holds conversations with the broker that go wrong somewhere: requests of all keys and versions
// filled at random, pipelined, in sessions and out of them, with bytes changed, cut or put in. Whatever it makes of them,
// it must live, log no panic, answer each conversation in order or hang up, and serve a good client afterwards.
func TestHostileConversations(t *testing.T) {
	b := subject.Start(t, t.TempDir(), "auto.create.topics.enable=false")
	known := created(dial(t, b.Address), fresh(t))
	served := advertised(dial(t, b.Address))
	var keys []kmsg.ApiVersionsResponseApiKey
	for key := range int16(100) { // a map has no order, and the seed must decide
		if k, ok := served[key]; ok {
			keys = append(keys, k)
		}
	}
	var total atomic.Int64
	var clients sync.WaitGroup
	for n := range atOnce {
		clients.Go(func() { // ends with its share of the conversations
			for i := n; i < *conversations && !t.Failed(); i += atOnce {
				h := &hostile{Rand: rand.New(rand.NewPCG(*seed, uint64(i))), keys: keys, topic: known.Topic, id: known.TopicID}
				answered, err := h.converse(b.Address)
				total.Add(int64(answered))
				if err != nil || !b.Alive() {
					t.Errorf("conversation %d of seed %d: %v; the broker runs: %v", i, *seed, err, b.Alive())
				}
			}
		})
	}
	clients.Wait()
	if t.Failed() {
		return
	}
	t.Logf("%d requests were answered", total.Load())
	if n := total.Load(); n < int64(*conversations) {
		t.Errorf("only %d requests were answered: the conversations are not what they should be", n)
	}
	c := dial(t, b.Address)
	again := created(c, fresh(t)+"-after").Topic
	if at := written(c, again, batch{values: []string{"well"}}); at != 0 {
		t.Errorf("a good client wrote at offset %d", at)
	}
	if n := len(batches(c, fetch(c, again, 0).RecordBatches)); n != 1 {
		t.Errorf("a good client read %d batches", n)
	}
	if text := b.Output(); strings.Contains(text, "panic") || strings.Contains(text, "goroutine ") {
		t.Errorf("the broker's log tells of a panic")
	}
	b.Kill()
	b.Restart(t) // and what is left on disk can be opened
	c = dial(t, b.Address)
	if n := len(batches(c, fetch(c, again, 0).RecordBatches)); n != 1 {
		t.Errorf("after a restart a good client read %d batches", n)
	}
}

// hostile is a client that means no good, or does not know better.
type hostile struct {
	*rand.Rand
	keys    []kmsg.ApiVersionsResponseApiKey
	topic   string // that is there
	id      [16]byte
	session int32 // of the last Fetch that was answered
	epoch   int32
}

// chance is true n times in a hundred.
func (h *hostile) chance(n int) bool { return h.IntN(100) < n }

// converse talks over one connection, and returns how many requests were answered. It is an error when answers are in
// another order than requests, or neither an answer comes nor the end.
func (h *hostile) converse(address string) (answered int, err error) {
	c, err := net.DialTimeout("tcp", address, answerTimeout)
	if err != nil {
		return 0, err
	}
	defer func() { _ = c.Close() }() // the broker may have been faster
	format := kmsg.NewRequestFormatter(kmsg.FormatterClientID("hostile"))
	sound := true // nothing was spoilt yet, so that an answer to each request is owed
	var owed []kmsg.Request
	base := h.Int32()
	for range 1 + h.IntN(12) {
		req := h.request()
		frame := format.AppendRequest(nil, req, base+int32(len(owed)))
		if h.chance(15) {
			frame, sound = h.spoil(frame), false
		}
		if err := c.SetWriteDeadline(time.Now().Add(answerTimeout)); err != nil {
			return 0, err
		}
		if _, err := c.Write(frame); err != nil {
			return answered, nil // it hung up, which is its right
		}
		if p, ok := req.(*kmsg.ProduceRequest); !ok || p.Acks != 0 {
			owed = append(owed, req)
		}
		if !sound {
			break
		}
	}
	if h.chance(10) {
		return answered, nil // goes without a word
	}
	if tcp, ok := c.(*net.TCPConn); ok && !sound {
		_ = tcp.CloseWrite() // what is cut gets no more
	}
	for i, req := range owed {
		body, err := h.read(c)
		if err != nil || body == nil {
			return answered, err
		}
		if got := int32(binary.BigEndian.Uint32(body)); sound && got != base+int32(i) {
			return answered, errors.New("the answer to " + kmsg.NameForKey(req.Key()) + " is not the next")
		}
		answered++
		h.learn(req, body[4:])
	}
	return answered, nil
}

// read reads one response; nil where the connection has ended.
func (h *hostile) read(c net.Conn) ([]byte, error) {
	if err := c.SetReadDeadline(time.Now().Add(answerTimeout)); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, errors.New("neither an answer nor the end of the connection has come")
		}
		return nil, nil
	}
	n := binary.BigEndian.Uint32(size[:])
	if n < 4 || n > 100<<20 {
		return nil, errors.New("an answer has an absurd length")
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(c, body); err != nil {
		return nil, nil // it hung up in the middle
	}
	return body, nil
}

// learn keeps the fetch session, so that later requests go on with it.
func (h *hostile) learn(req kmsg.Request, body []byte) {
	resp, ok := req.ResponseKind().(*kmsg.FetchResponse)
	if !ok {
		return
	}
	if resp.IsFlexible() {
		body = body[1:]
	}
	if resp.ReadFrom(body) == nil && resp.SessionID != 0 {
		h.session, h.epoch = resp.SessionID, h.epoch+1
	}
}

// request is one of any key and version that is served, sometimes of one that is not, filled at random.
func (h *hostile) request() kmsg.Request {
	k := h.keys[h.IntN(len(h.keys))]
	if h.chance(25) { // these two have the most state
		k = h.keys[h.IntN(2)]
	}
	req := kmsg.RequestForKey(k.ApiKey)
	version := k.MinVersion + int16(h.IntN(int(k.MaxVersion-k.MinVersion)+1))
	if h.chance(3) {
		version = k.MaxVersion + 1
	}
	req.SetVersion(min(version, req.MaxVersion()))
	h.fill(reflect.ValueOf(req).Elem(), "", 0)
	switch req := req.(type) {
	case *kmsg.ApiVersionsRequest:
		if h.chance(80) {
			req.ClientSoftwareName, req.ClientSoftwareVersion = "hostile", "1"
		}
	case *kmsg.ProduceRequest:
		req.Acks = int16(h.IntN(4)) - 2
		req.TimeoutMillis = int32(h.IntN(200))
	case *kmsg.FetchRequest:
		req.ReplicaID, req.MaxWaitMillis = -1, int32(h.IntN(50))
		if h.chance(60) {
			req.SessionID, req.SessionEpoch = h.session, h.epoch
		}
	case *kmsg.DeleteTopicsRequest:
		req.TopicNames, req.Topics = nil, nil // the known topic stays
	case *kmsg.IncrementalAlterConfigsRequest:
		req.ValidateOnly = true // so does the configuration of the broker
	case *kmsg.AlterConfigsRequest:
		req.ValidateOnly = true
	}
	return req
}

// fill gives every field of a struct a value of its type: what is there, what might be, what cannot be.
func (h *hostile) fill(v reflect.Value, name string, depth int) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if f.IsExported() && f.Name != "Version" && f.Name != "UnknownTags" {
				h.fill(v.Field(i), f.Name, depth)
			}
		}
	case reflect.Pointer:
		if h.chance(80) {
			v.Set(reflect.New(v.Type().Elem()))
			h.fill(v.Elem(), name, depth)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes(h.blob(name))
			return
		}
		if h.chance(10) || depth > 4 {
			return // null
		}
		n := h.IntN(4)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			h.fill(v.Index(i), name, depth+1)
		}
	case reflect.Array:
		if h.chance(60) {
			v.Set(reflect.ValueOf(h.id).Convert(v.Type()))
		} else {
			for i := range v.Len() {
				v.Index(i).SetUint(uint64(h.IntN(256)))
			}
		}
	case reflect.String:
		v.SetString(h.name())
	case reflect.Bool:
		v.SetBool(h.chance(50))
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(truncated(h.number(), v.Type().Bits()))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(h.number()) & (1<<v.Type().Bits() - 1))
	case reflect.Float64:
		v.SetFloat(h.NormFloat64() * 1e6)
	}
}

func truncated(n int64, bits int) int64 { return n << (64 - bits) >> (64 - bits) }

// number is mostly a small one, and sometimes one at an end.
func (h *hostile) number() int64 {
	switch h.IntN(10) {
	case 0:
		return h.Int64() - h.Int64()
	case 1:
		return 1<<63 - 1
	case 2:
		return -1 << 63
	case 3:
		return 1<<31 - 1
	case 4:
		return -1
	case 5, 6, 7:
		return 0
	default:
		return int64(h.IntN(300)) - 6
	}
}

// name is that of the topic that is there, or another that may be or not.
func (h *hostile) name() string {
	switch h.IntN(8) {
	case 0, 1, 2, 3:
		return h.topic
	case 4:
		return ""
	case 5:
		return strings.Repeat("ä/\x00", h.IntN(200))
	case 6:
		return []string{"0", "1", "__consumer_offsets", "__cluster_metadata", "retention.ms", "cleanup.policy", "..", "user", "PLAIN"}[h.IntN(9)]
	default:
		return "t" + string(rune('a'+h.IntN(26)))
	}
}

// blob is a batch for fields of records, good or not, and anything elsewhere.
func (h *hostile) blob(name string) []byte {
	if name != "Records" || h.chance(10) {
		b := make([]byte, h.IntN(100))
		for i := range b {
			b[i] = byte(h.Uint32())
		}
		return b
	}
	raw := batch{values: []string{"a", "b"}, idempotent: h.chance(50), producer: int64(h.IntN(5)), epoch: int16(h.IntN(2)), sequence: int32(h.IntN(6))}.bytes()
	if h.chance(60) {
		return raw
	}
	for range 1 + h.IntN(3) {
		raw[h.IntN(len(raw))] ^= byte(1 << h.IntN(8))
	}
	if h.chance(70) {
		seal(raw) // what is wrong is not for the checksum to find
	}
	return raw
}

// spoil makes a frame wrong: other bytes, fewer, more, another length, key or version.
func (h *hostile) spoil(frame []byte) []byte {
	switch h.IntN(6) {
	case 0:
		return frame[:h.IntN(len(frame))]
	case 1:
		binary.BigEndian.PutUint32(frame, uint32(int(binary.BigEndian.Uint32(frame))+h.IntN(40)-20))
	case 2:
		binary.BigEndian.PutUint16(frame[4:], uint16(h.IntN(120)))
	case 3:
		binary.BigEndian.PutUint16(frame[6:], uint16(h.IntN(20)))
	default:
		for range 1 + h.IntN(8) {
			frame[4+h.IntN(len(frame)-4)] = byte(h.Uint32())
		}
	}
	return frame
}
