package clients

import (
	"context"
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
	})
}
