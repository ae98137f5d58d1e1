package schema

import (
	"bufio"
	"encoding/hex"
	"errors"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/moldau/moldau"
)

var (
	idA = moldau.UUID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	idB = moldau.UUID{17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32}
)

// samples are the records behind testdata/golden.txt, by name.
func samples() map[string]Record {
	type brokers = []moldau.BrokerID
	dirs := []moldau.UUID{idA, idB}
	broker := RegisterBroker{
		Broker: 300, Incarnation: idA, Epoch: 1234567890123, Rack: ptr("r1"), Fenced: true,
		Endpoints: []Endpoint{{"PLAINTEXT", "127.0.0.1", 9092, 0}, {"SASL", "broker.example", 65535, 3}},
		Features:  []Feature{{"metadata.version", 7, 30}},
	}
	down := broker
	down.ShuttingDown = true
	dirsKnown := down
	dirsKnown.LogDirs = dirs
	cordoned := dirsKnown
	cordoned.CordonedLogDirs = []moldau.UUID{idB}

	part := Partition{Partition: 3, TopicID: idA, Replicas: brokers{1, 2, 300}, ISR: brokers{1, 2}, Leader: 1, LeaderEpoch: 4, PartitionEpoch: 9}
	moving := part
	moving.Removing, moving.Adding, moving.Recovering = brokers{1}, brokers{300}, 1
	placed := moving
	placed.Directories = []moldau.UUID{idA, idB, {}}
	elr := placed
	elr.ELR, elr.LastKnownELR = brokers{300}, brokers{2, 300}

	none := PartitionChange{Partition: 1, TopicID: idB, Leader: NoLeaderChange, Recovering: NoRecoveryChange}
	change := PartitionChange{Partition: 1, TopicID: idB, ISR: brokers{2}, Leader: 2, Replicas: brokers{2, 3}, Removing: brokers{}, Adding: brokers{3}}
	changeDirs := change
	changeDirs.Directories = dirs
	changeELR := changeDirs
	changeELR.ELR, changeELR.LastKnownELR, changeELR.Leader = brokers{3}, brokers{}, moldau.NoBroker

	reg := BrokerRegistrationChange{Broker: 1, Epoch: 5, Fenced: -1}
	regDown := reg
	regDown.ShuttingDown = 1
	regDirs := regDown
	regDirs.LogDirs = []moldau.UUID{idA}
	regCordoned := regDirs
	regCordoned.CordonedLogDirs = []moldau.UUID{}
	return map[string]Record{
		"broker-small": &RegisterBroker{Broker: 1, Incarnation: idA, Epoch: 5}, "broker": &broker, "broker-shutdown": &down,
		"broker-dirs": &dirsKnown, "broker-cordoned": &cordoned, "unregister": &UnregisterBroker{2, 77},
		"topic": &Topic{"page-views", idA}, "partition": &part, "partition-moving": &moving, "partition-dirs": &placed,
		"partition-elr": &elr, "config": &Config{TopicResource, "page-views", "retention.ms", ptr("1000")},
		"config-removed": &Config{BrokerResource, "", "message.max.bytes", nil}, "change-none": &none, "change": &change,
		"change-dirs": &changeDirs, "change-elr": &changeELR, "fence": &FenceBroker{1, 9}, "unfence": &UnfenceBroker{1, 9},
		"remove-topic": &RemoveTopic{idA}, "feature": &FeatureLevel{"metadata.version", 30}, "producer-ids": &ProducerIDs{1, 5, 2000},
		"registration-change-none": &BrokerRegistrationChange{Broker: 1, Epoch: 5}, "registration-change": &reg,
		"registration-change-shutdown": &regDown, "registration-change-dirs": &regDirs, "registration-change-cordoned": &regCordoned,
		"noop": &NoOp{},
	}
}

func ptr[T any](v T) *T { return &v }

// golden calls do for each line of testdata/golden.txt: what Kafka's MetadataRecordSerde wrote of a sample.
func golden(t testing.TB, do func(name string, version int16, value []byte)) {
	f, err := os.Open("testdata/golden.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if s.Text() == "" || s.Text()[0] == '#' {
			continue
		}
		field := strings.Fields(s.Text())
		version, err := strconv.ParseInt(field[1], 10, 16)
		if err != nil {
			t.Fatal(err)
		}
		value, err := hex.DecodeString(field[2])
		if err != nil {
			t.Fatal(err)
		}
		do(field[0], int16(version), value)
	}
}

// C-1: our bytes are Kafka's bytes, and Kafka's bytes are read as what they mean.
func TestKafkaBytes(t *testing.T) {
	seen := map[string]bool{}
	all := samples()
	golden(t, func(name string, version int16, value []byte) {
		want := all[name]
		if want == nil {
			t.Fatalf("no sample is named %s", name)
		}
		seen[name] = true
		if got := appendVersion(nil, want, version); !reflect.DeepEqual(got, value) {
			t.Errorf("%s v%d: wrote\n%x, Kafka writes\n%x", name, version, got, value)
		}
		got, err := Decode(value)
		if err != nil {
			t.Errorf("%s v%d: %v", name, version, err)
		} else if !reflect.DeepEqual(got, want) {
			t.Errorf("%s v%d: read %+v, want %+v", name, version, got, want)
		}
	})
	for name := range all {
		if !seen[name] {
			t.Errorf("no line of testdata/golden.txt has %s", name)
		}
	}
}

func TestRoundTripNewest(t *testing.T) {
	for name, want := range samples() {
		got, err := Decode(Append([]byte(nil), want))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: read back %+v (%v), want %+v", name, got, err, want)
		}
	}
}

// Every proper prefix of a record, and a record with a byte too many, is refused.
func TestTruncatedAndStray(t *testing.T) {
	for name, r := range samples() {
		value := Append(nil, r)
		for n := range value {
			if _, err := Decode(value[:n]); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s cut to %d of %d bytes: %v", name, n, len(value), err)
			}
		}
		if _, err := Decode(append(value, 0)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s with a stray byte: %v", name, err)
		}
	}
}

func TestNewerIsNotCorrupt(t *testing.T) {
	for _, value := range [][]byte{{2, 2, 0}, {1, 200, 1, 0}, {1, 2, 9}, {1, 3, 3, 0}, {1, 0xff, 0xff, 0xff, 0xff, 7, 0}} {
		if _, err := Decode(value); !errors.Is(err, ErrVersion) {
			t.Errorf("%x: %v, want ErrVersion", value, err)
		}
	}
}

// W-3: a tag from the future is skipped.
func TestUnknownTag(t *testing.T) {
	value := Append(nil, &RemoveTopic{idA})
	value = append(value[:len(value)-1], 1, 99, 3, 7, 7, 7)
	got, err := Decode(value)
	if err != nil || !reflect.DeepEqual(got, &RemoveTopic{idA}) {
		t.Fatalf("got %+v, %v", got, err)
	}
}

// A false count must not be believed before the bytes are there.
func TestFalseCountAllocatesNothing(t *testing.T) {
	value := append([]byte{1, 3, 0, 0, 0, 0, 3}, idA[:]...)
	value = append(value, 0xff, 0xff, 0xff, 0xff, 0x07) // 2³¹-2 replicas
	allocs := testing.AllocsPerRun(10, func() {
		if _, err := Decode(value); !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
	})
	if allocs > 20 {
		t.Fatalf("%v allocations", allocs)
	}
}

func FuzzRecord(f *testing.F) {
	golden(f, func(_ string, _ int16, value []byte) { f.Add(value) })
	f.Fuzz(func(t *testing.T, value []byte) {
		r, err := Decode(value)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Fatal(err)
			}
			return
		}
		again, err := Decode(Append(nil, r))
		if err != nil {
			t.Fatalf("%+v does not survive: %v", r, err)
		}
		if !reflect.DeepEqual(r, again) {
			t.Fatalf("%+v became %+v", r, again)
		}
	})
}
