package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/moldau/moldau"
)

// usageError is a command line that was not understood; the program ends with exitUsage.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// failure is an error for a person: what happened, and what to try.
type failure struct {
	what string
	try  string // "" where there is nothing to advise
	err  error  // the cause, for errors.Is and As; may be nil
}

func (e *failure) Error() string { return e.what }
func (e *failure) Unwrap() error { return e.err }

// atLine puts a place before an error, and keeps its advice.
func atLine(place string, err error) error {
	f := &failure{what: fmt.Sprintf("%s: %v", place, err), err: err}
	var inner *failure
	if errors.As(err, &inner) {
		f.try = inner.try
	}
	return f
}

// printError writes err to w, each joined error with its own advice.
func printError(w io.Writer, err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			printError(w, err)
		}
		return
	}
	fmt.Fprintf(w, "moldau: %v\n", err)
	var f *failure
	if errors.As(err, &f) && f.try != "" {
		fmt.Fprintf(w, "  try: %s\n", f.try)
	}
}

// sentence says in words what a broker's error code means for a topic, and what to do. %s is the topic.
type sentence struct{ what, try string }

var sentences = map[moldau.Code]sentence{
	moldau.UnknownTopicOrPartition:    {"topic %s does not exist", "see what there is: moldau topic list"},
	moldau.TopicAlreadyExists:         {"topic %s exists already", "look at it with: moldau topic describe %s (--if-not-exists makes this no error)"},
	moldau.InvalidTopicException:      {"%s is not a name that a topic can have", "use 1 to 249 of a-z A-Z 0-9 . _ -"},
	moldau.InvalidPartitions:          {"topic %s cannot have that number of partitions", "a topic has at least 1; partitions can be added, never removed"},
	moldau.InvalidReplicationFactor:   {"topic %s cannot have that replication factor", "it is at most the number of brokers: moldau cluster info"},
	moldau.InvalidConfig:              {"a configuration of topic %s is not valid", "every key with its values: moldau config docs"},
	moldau.InvalidReplicaAssignment:   {"the replica assignment of topic %s is not valid", "the brokers are listed by: moldau cluster info"},
	moldau.PolicyViolation:            {"a policy of the cluster forbids this for topic %s", ""},
	moldau.TopicDeletionDisabled:      {"the cluster does not delete topics, so %s stays", "set delete.topic.enable=true on the brokers"},
	moldau.TopicAuthorizationFailed:   {"you may not do this with topic %s", "ask for the permission, or use other credentials"},
	moldau.ClusterAuthorizationFailed: {"you may not do this with the cluster", "ask for the permission, or use other credentials"},
	moldau.MessageTooLarge:            {"a record for topic %s is larger than the topic accepts", "raise it with: moldau topic alter %s -c max.message.bytes=…"},
	moldau.RecordListTooLarge:         {"a batch for topic %s is larger than a segment", "send smaller batches, or raise segment.bytes of %s"},
	moldau.NotEnoughReplicas:          {"topic %s has fewer in-sync replicas than min.insync.replicas demands", "see which are missing: moldau topic describe %s"},
	moldau.NotEnoughReplicasAfterAppend: {
		"the record is written, but topic %s has fewer in-sync replicas than min.insync.replicas demands", "see which are missing: moldau topic describe %s"},
	moldau.LeaderNotAvailable:         {"a partition of topic %s has no leader", "see which: moldau topic describe %s"},
	moldau.OffsetOutOfRange:           {"the offset lies outside of what topic %s holds", "see what it holds: moldau topic describe %s"},
	moldau.UnsupportedVersion:         {"the broker is too old (or too new) for this request", "see its version: moldau cluster info"},
	moldau.UnsupportedCompressionType: {"topic %s does not take this compression", "choose another with --compression"},
	moldau.InvalidTimestamp:           {"the record's timestamp is outside of what topic %s takes", "see message.timestamp.before.max.ms and .after.max.ms of %s"},
	moldau.InvalidRecord:              {"topic %s refused the record", ""},
	moldau.CorruptMessage:             {"the batch for topic %s arrived damaged", "try again; if it stays, something between here and the broker changes bytes"},
	moldau.KafkaStorageError:          {"a disk of the broker failed under topic %s", "look into the broker's log"},
	moldau.RequestTimedOut:            {"the broker did not finish in time with topic %s; whether it will is not known", "look at: moldau topic describe %s"},
	moldau.GroupIDNotFound:            {"there is no such group", "see what there is: moldau group list"},
	moldau.NonEmptyGroup:              {"the group has members", "stop its consumers first; see which: moldau group describe"},
	moldau.UnknownMemberID:            {"the group has members, and only they may set its offsets", "stop its consumers first; see which: moldau group describe"},
	moldau.GroupSubscribedToTopic:     {"members of the group subscribe to topic %s", "stop its consumers first; see which: moldau group describe"},
	moldau.GroupAuthorizationFailed:   {"you may not do this with the group", "ask for the permission, or use other credentials"},
	moldau.InvalidGroupID:             {"a group must have a name", ""},
	moldau.TransactionalIDNotFound:    {"there is no transactional id %s", "see what there is: moldau txn list"},
	moldau.CoordinatorNotAvailable:    {"the group has no coordinator at the moment", "try again in a while; see the brokers: moldau cluster info"},
	moldau.ThrottlingQuotaExceeded:    {"the broker's quota for this kind of request is used up (topic %s)", "try again in a while"},
}

// unknownBroker is the text of the client's error for a broker id that the metadata does not have; it is not exported.
const unknownBroker = "unknown broker"

// explain puts err into words for a person. topic is the one concerned; message is what the broker itself said, if it
// did. Errors that already are for a person, and nil, come back as they are.
func explain(err error, topic, message string) error {
	if err == nil {
		return nil
	}
	var f *failure
	if errors.As(err, &f) {
		return err
	}
	if err.Error() == unknownBroker {
		return &failure{what: "the cluster has no such broker", try: "see which it has: moldau cluster info", err: err}
	}
	var ke *kerr.Error
	if !errors.As(err, &ke) {
		return explainNet(err)
	}
	s, known := sentences[moldau.Code(ke.Code)]
	what := ""
	switch {
	case known && strings.Contains(s.what, "%s"):
		what = fmt.Sprintf(s.what, topic)
	case known:
		what = s.what
	default:
		what = subject(topic) + strings.TrimSuffix(ke.Description, ".")
	}
	if message = strings.TrimSuffix(message, "."); message != "" && message != strings.TrimSuffix(ke.Description, ".") {
		what += ": " + message
	}
	return &failure{
		what: fmt.Sprintf("%s (%s)", what, ke.Message),
		try:  strings.ReplaceAll(advice(moldau.Code(ke.Code), message), "%s", topic),
		err:  err,
	}
}

// advice is what to try after a code. Where the broker's message says more than the code, it decides.
func advice(code moldau.Code, message string) string {
	switch {
	case code == moldau.InvalidTopicException && (strings.Contains(message, "collide") || strings.Contains(message, "'.' and '_'")):
		return "choose a name that differs in more than . and _"
	case code == moldau.InvalidRecord && strings.Contains(strings.ToLower(message), "key"):
		return keyedAdvice
	}
	return sentences[code].try
}

// keyedAdvice is for a record without a key that a topic refused.
const keyedAdvice = "a compacted topic takes records with a key only: --key or --key-separator"

func subject(topic string) string {
	if topic == "" {
		return ""
	}
	return "topic " + topic + ": "
}
