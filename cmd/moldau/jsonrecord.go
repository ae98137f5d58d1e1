package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

// jsonRecord is a record as a line of JSON: what `consume -o json` writes and `produce --json` reads. Bytes that are not
// UTF-8 stand in the field with Base64 at its end, so that every record survives the way there and back.
type jsonRecord struct {
	Topic       string          `json:"topic,omitempty"`
	Partition   *int32          `json:"partition,omitempty"`
	Offset      *int64          `json:"offset,omitempty"`
	Timestamp   json.RawMessage `json:"timestamp,omitempty"`
	Key         json.RawMessage `json:"key,omitempty"`
	KeyBase64   *[]byte         `json:"keyBase64,omitempty"`
	Value       json.RawMessage `json:"value,omitempty"`
	ValueBase64 *[]byte         `json:"valueBase64,omitempty"`
	Headers     json.RawMessage `json:"headers,omitempty"`
}

// jsonHeader is one header of a jsonRecord: an array of them keeps order and repeated names.
type jsonHeader struct {
	Key         string          `json:"key"`
	Value       json.RawMessage `json:"value,omitempty"`
	ValueBase64 *[]byte         `json:"valueBase64,omitempty"`
}

// appendJSONRecord appends r as one line of JSON.
func appendJSONRecord(dst []byte, r *kgo.Record) ([]byte, error) {
	j := jsonRecord{
		Topic: r.Topic, Partition: &r.Partition, Offset: &r.Offset,
		Timestamp: strconv.AppendInt(nil, r.Timestamp.UnixMilli(), 10),
	}
	j.Key, j.KeyBase64 = toJSON(r.Key)
	j.Value, j.ValueBase64 = toJSON(r.Value)
	if len(r.Headers) > 0 {
		headers := make([]jsonHeader, len(r.Headers))
		for i, h := range r.Headers {
			headers[i].Key = h.Key
			headers[i].Value, headers[i].ValueBase64 = toJSON(h.Value)
		}
		text, err := marshal(headers)
		if err != nil {
			return dst, err
		}
		j.Headers = text
	}
	line, err := marshal(j)
	return append(append(dst, line...), '\n'), err
}

// marshal is json.Marshal that leaves <, > and & as they are.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// toJSON returns content as a JSON string (null for nil), or as bytes for base64 where it is not UTF-8.
func toJSON(content []byte) (json.RawMessage, *[]byte) {
	if content == nil {
		return json.RawMessage("null"), nil
	}
	if !utf8.Valid(content) {
		return nil, &content
	}
	text, err := marshal(string(content))
	if err != nil {
		return nil, &content
	}
	return text, nil
}

// parseJSONRecord reads a line of JSON. A string is its bytes, null is null, and any other JSON value stands for its own
// text. Topic and offset are allowed, so that what was consumed can be produced again, and have no effect.
func parseJSONRecord(line []byte) (*kgo.Record, error) {
	var j jsonRecord
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&j); err != nil {
		return nil, fmt.Errorf("not a JSON record: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("not a JSON record: something follows the object")
	}
	r := &kgo.Record{Partition: anyPartition}
	var err error
	if r.Key, err = fromJSON("key", j.Key, j.KeyBase64); err != nil {
		return nil, err
	}
	if r.Value, err = fromJSON("value", j.Value, j.ValueBase64); err != nil {
		return nil, err
	}
	if j.Partition != nil {
		if *j.Partition < 0 {
			return nil, fmt.Errorf("partition %d is negative", *j.Partition)
		}
		r.Partition = *j.Partition
	}
	if r.Timestamp, err = timeFromJSON(j.Timestamp); err != nil {
		return nil, err
	}
	r.Headers, err = headersFromJSON(j.Headers)
	return r, err
}

// fromJSON returns the bytes for which a field and its Base64 twin stand.
func fromJSON(name string, text json.RawMessage, raw *[]byte) ([]byte, error) {
	switch {
	case raw != nil && text != nil:
		return nil, fmt.Errorf("%s and %sBase64 are both given", name, name)
	case raw != nil:
		return *raw, nil
	case text == nil || string(text) == "null":
		return nil, nil
	case text[0] == '"':
		var s string
		err := json.Unmarshal(text, &s)
		return []byte(s), err
	}
	return text, nil
}

// timeFromJSON reads milliseconds since 1970 or a string in RFC 3339; absent means now, by the client.
func timeFromJSON(text json.RawMessage) (time.Time, error) {
	if text == nil || string(text) == "null" {
		return time.Time{}, nil
	}
	if ms, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		return millis(ms), nil
	}
	var t time.Time
	if err := json.Unmarshal(text, &t); err != nil {
		return t, fmt.Errorf("timestamp %s is neither milliseconds since 1970 nor a time like \"2026-01-01T15:04:05Z\"", text)
	}
	return t, nil
}

// headersFromJSON reads headers from an array of {"key", "value"}, or from an object in the order of its fields.
func headersFromJSON(text json.RawMessage) ([]kgo.RecordHeader, error) {
	if text == nil || string(text) == "null" {
		return nil, nil
	}
	var headers []kgo.RecordHeader
	if text[0] == '[' {
		var list []jsonHeader
		if err := json.Unmarshal(text, &list); err != nil {
			return nil, fmt.Errorf("headers: %w", err)
		}
		for _, h := range list {
			value, err := fromJSON("value", h.Value, h.ValueBase64)
			if err != nil {
				return nil, fmt.Errorf("header %q: %w", h.Key, err)
			}
			headers = append(headers, kgo.RecordHeader{Key: h.Key, Value: value})
		}
		return headers, nil
	}
	if text[0] != '{' {
		return nil, fmt.Errorf("headers are %s, not an object or an array of {\"key\", \"value\"}", text)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	if _, err := dec.Token(); err != nil { // the opening brace
		return nil, fmt.Errorf("headers: %w", err)
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("headers: %w", err)
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, fmt.Errorf("headers: %w", err)
		}
		value, err := fromJSON("value", raw, nil)
		if err != nil {
			return nil, fmt.Errorf("headers: %w", err)
		}
		headers = append(headers, kgo.RecordHeader{Key: fmt.Sprint(name), Value: value})
	}
	return headers, nil
}
