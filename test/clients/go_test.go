package clients

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	kafkago "github.com/segmentio/kafka-go"
)

func TestFranzGo(t *testing.T) {
	roundTrips(t, client{
		name:    "franz-go",
		produce: franzProduce,
		consume: func(t *testing.T, address, topic string, n int) []record {
			return franzConsume(t, address, topic, n, "")
		},
		member: franzMember,
	})
}

func TestSarama(t *testing.T) {
	byName := map[string]sarama.CompressionCodec{"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP,
		"snappy": sarama.CompressionSnappy, "lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD}
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Idempotent = true
	config.Net.MaxOpenRequests = 1 // which idempotence asks for
	config.Producer.Return.Successes = true
	config.Producer.Partitioner = sarama.NewManualPartitioner
	roundTrips(t, client{
		name: "sarama",
		produce: func(t *testing.T, address, topic, codec string, rs []record) {
			config := *config
			config.Producer.Compression = byName[codec]
			p, err := sarama.NewSyncProducer([]string{address}, &config)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			var send []*sarama.ProducerMessage
			for _, r := range rs {
				m := &sarama.ProducerMessage{Topic: topic, Key: sarama.ByteEncoder(r.key), Value: sarama.ByteEncoder(r.value)}
				for _, h := range r.headers {
					m.Headers = append(m.Headers, sarama.RecordHeader{Key: []byte(h.name), Value: h.value})
				}
				send = append(send, m)
			}
			if err := p.SendMessages(send); err != nil {
				t.Fatal(err)
			}
		},
		consume: func(t *testing.T, address, topic string, n int) []record {
			c, err := sarama.NewConsumer([]string{address}, config)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			p, err := c.ConsumePartition(topic, 0, sarama.OffsetOldest)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			var rs []record
			deadline := time.After(time.Minute)
			for len(rs) < n {
				select {
				case m := <-p.Messages():
					r := record{key: m.Key, value: m.Value}
					for _, h := range m.Headers {
						r.headers = append(r.headers, header{string(h.Key), h.Value})
					}
					rs = append(rs, r)
				case <-deadline:
					t.Fatalf("sarama has read %d of %d records in a minute", len(rs), n)
				}
			}
			return rs
		},
		member: saramaMember,
	})
}

func TestKafkaGo(t *testing.T) {
	byName := map[string]kafkago.Compression{"none": 0, "gzip": kafkago.Gzip, "snappy": kafkago.Snappy,
		"lz4": kafkago.Lz4, "zstd": kafkago.Zstd}
	roundTrips(t, client{
		name: "kafka-go",
		produce: func(t *testing.T, address, topic, codec string, rs []record) {
			w := &kafkago.Writer{Addr: kafkago.TCP(address), Topic: topic, RequiredAcks: kafkago.RequireAll,
				Transport:   &kafkago.Transport{}, // the shared one knows only the topics of its first request for some seconds
				Compression: byName[codec], BatchTimeout: 20 * time.Millisecond}
			defer w.Close()
			var send []kafkago.Message
			for _, r := range rs {
				m := kafkago.Message{Key: r.key, Value: r.value}
				for _, h := range r.headers {
					m.Headers = append(m.Headers, kafkago.Header{Key: h.name, Value: h.value})
				}
				send = append(send, m)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := w.WriteMessages(ctx, send...); err != nil {
				t.Fatal(err)
			}
		},
		consume: func(t *testing.T, address, topic string, n int) []record {
			c := kafkago.NewReader(kafkago.ReaderConfig{Brokers: []string{address}, Topic: topic, MaxWait: time.Second})
			defer c.Close()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var rs []record
			for range n {
				m, err := c.ReadMessage(ctx)
				if err != nil {
					t.Fatalf("after %d of %d records: %v", len(rs), n, err)
				}
				r := record{key: m.Key, value: m.Value}
				for _, h := range m.Headers {
					r.headers = append(r.headers, header{h.Key, h.Value})
				}
				rs = append(rs, r)
			}
			return rs
		},
		member: kafkaGoMember,
	})
}

func kafkaGoMember(t *testing.T, address, topic, group string, n int) (rs []record) {
	c := kafkago.NewReader(kafkago.ReaderConfig{Brokers: []string{address}, Topic: topic, GroupID: group, MaxWait: time.Second, StartOffset: kafkago.FirstOffset})
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range n {
		m, err := c.FetchMessage(ctx)
		if err == nil {
			err = c.CommitMessages(ctx, m)
		}
		if err != nil {
			t.Fatalf("after %d of %d records: %v", len(rs), n, err)
		}
		r := record{key: m.Key, value: m.Value}
		for _, h := range m.Headers {
			r.headers = append(r.headers, header{h.Key, h.Value})
		}
		rs = append(rs, r)
	}
	return rs
}

func saramaMember(t *testing.T, address, topic, group string, n int) []record {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	g, err := sarama.NewConsumerGroup([]string{address}, group, config)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	h := &saramaHandler{left: n, done: cancel}
	for ctx.Err() == nil {
		if err := g.Consume(ctx, []string{topic}, h); err != nil {
			t.Fatal(err)
		}
	}
	if h.left > 0 {
		t.Fatalf("sarama has read %d of %d records in a minute", len(h.records), n)
	}
	return h.records
}

// saramaHandler takes the first records that come, of whatever partition.
type saramaHandler struct {
	mu      sync.Mutex
	left    int
	records []record
	done    func()
}

func (h *saramaHandler) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (h *saramaHandler) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (h *saramaHandler) ConsumeClaim(s sarama.ConsumerGroupSession, c sarama.ConsumerGroupClaim) error {
	for m := range c.Messages() {
		h.mu.Lock()
		if h.left == 0 {
			h.mu.Unlock()
			return nil
		}
		h.left--
		r := record{key: m.Key, value: m.Value}
		for _, f := range m.Headers {
			r.headers = append(r.headers, header{string(f.Key), f.Value})
		}
		h.records = append(h.records, r)
		s.MarkMessage(m, "")
		s.Commit()
		if h.left == 0 {
			h.done()
		}
		h.mu.Unlock()
	}
	return nil
}
