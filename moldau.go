// Package moldau is the vocabulary of the system: the words that every layer shares, and nothing else.
//
// A word here has one meaning in code, logs, metrics and docs. The package imports nothing of the project.
package moldau

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

// Offset is the position of a record in a partition's log, counted from 0. Offsets are given out once and never reused
// for other content.
type Offset int64

// LeaderEpoch counts the leaderships of one partition; it rises by at least one with each. KIP-101.
type LeaderEpoch int32

// NoEpoch stands where the wire protocol says -1: the sender does not know or does not care.
const NoEpoch LeaderEpoch = -1

// BrokerID names a broker of the cluster (Kafka: node.id).
type BrokerID int32

// NoBroker stands where the wire protocol says -1, for a partition without a leader or a request from a client.
const NoBroker BrokerID = -1

// BrokerEpoch is the metadata offset of a broker's latest registration; it tells a restarted broker from its former self.
type BrokerEpoch int64

// ProducerID names a producer for idempotence (KIP-98); NoProducer is that of a batch without one.
type ProducerID int64

// NoProducer is the producer id of a batch that is not idempotent.
const NoProducer ProducerID = -1

// ProducerEpoch tells the incarnations of one producer id apart.
type ProducerEpoch int16

// Sequence numbers the records of one producer in one partition; it wraps from 2³¹-1 to 0 (L-21).
type Sequence int32

// Timestamp is milliseconds since the Unix epoch; NoTimestamp means none.
type Timestamp int64

// NoTimestamp is the timestamp of a record that bears none.
const NoTimestamp Timestamp = -1

// UUID is the 16-byte identity that topics, log directories and broker incarnations bear. Its text form is unpadded
// URL-safe base64, 22 characters, as Kafka prints it.
type UUID [16]byte

// TopicID is the identity of a topic for its whole life; a topic recreated under the same name has another. KIP-516.
type TopicID = UUID

// DirectoryID is the identity of a log directory. KIP-858.
type DirectoryID = UUID

// NewUUID makes a random UUID from read (which fills its argument with random bytes). Ids that Kafka reserves (the first
// hundred) and those whose text begins with a dash, which command lines mistake for a flag, are not given out.
func NewUUID(read func([]byte)) UUID {
	for {
		var id UUID
		read(id[:])
		id[6] = id[6]&0x0f | 0x40
		id[8] = id[8]&0x3f | 0x80
		if s := id.String(); s[0] != '-' {
			return id
		}
	}
}

// ParseUUID reads the text form of a UUID.
func ParseUUID(s string) (UUID, error) {
	var id UUID
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("%q is not an id of 22 URL-safe base64 characters", s)
	}
	copy(id[:], b)
	return id, nil
}

// IsZero reports whether the id is the zero UUID, which stands for "none" on the wire.
func (id UUID) IsZero() bool { return id == UUID{} }

func (id UUID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// MarshalText is String, so that JSON has the text form.
func (id UUID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// TopicPartition names one partition of a topic.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// String is the directory name of the partition: topic-partition.
func (tp TopicPartition) String() string {
	return tp.Topic + "-" + strconv.Itoa(int(tp.Partition))
}

// ParseTopicPartition reads what String writes. The partition stands behind the last dash; topic names may have dashes.
func ParseTopicPartition(s string) (TopicPartition, error) {
	i := strings.LastIndexByte(s, '-')
	if i <= 0 {
		return TopicPartition{}, fmt.Errorf("%q is not of the form topic-partition", s)
	}
	n, err := strconv.ParseUint(s[i+1:], 10, 31)
	if err != nil || strconv.FormatUint(n, 10) != s[i+1:] {
		return TopicPartition{}, fmt.Errorf("%q is not of the form topic-partition: %q is no partition number", s, s[i+1:])
	}
	return TopicPartition{Topic: s[:i], Partition: int32(n)}, nil
}

// TopicNameMax is the longest name of a topic in bytes (C-40).
const TopicNameMax = 249

// CheckTopicName says what is wrong with a topic's name, or nil: 1 to 249 characters of a-z A-Z 0-9 . _ - and neither
// "." nor ".." (C-40).
func CheckTopicName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("the topic name is empty")
	case name == "." || name == "..":
		return fmt.Errorf("the topic name cannot be %q", name)
	case len(name) > TopicNameMax:
		return fmt.Errorf("the topic name is %d characters long, more than %d", len(name), TopicNameMax)
	}
	for i := range len(name) {
		c := name[i]
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
		if !ok {
			return fmt.Errorf("the topic name %.260q has a character other than a-z, A-Z, 0-9, '.', '_' and '-'", name)
		}
	}
	return nil
}

// Internal topics: their only appender is a coordinator of the cluster (L-11, C-41).
const (
	OffsetsTopic     = "__consumer_offsets"
	TransactionTopic = "__transaction_state"
	ShareTopic       = "__share_group_state"
	MetadataTopic    = "__cluster_metadata"
)

// IsInternalTopic reports whether name is one of the topics that only coordinators write.
func IsInternalTopic(name string) bool {
	return name == OffsetsTopic || name == TransactionTopic || name == ShareTopic || name == MetadataTopic
}
