package clients

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
)

// TestKcat is librdkafka as a command line tool. It handles records as text.
func TestKcat(t *testing.T) {
	kcat := need(t, "kcat", "apt-get install kcat")
	roundTrips(t, client{
		name: "kcat",
		text: true,
		produce: func(t *testing.T, address, topic, codec string, rs []record) {
			var in bytes.Buffer
			for _, r := range rs {
				in.WriteString(string(r.key) + "\t" + string(r.value) + "\n")
			}
			args := []string{"-P", "-b", address, "-t", topic, "-p", "0", "-K", "\t", "-z", codec, "-X", "linger.ms=50"}
			for _, h := range rs[0].headers { // the same for all records
				args = append(args, "-H", h.name+"="+string(h.value))
			}
			output(t, &in, kcat, args...)
		},
		consume: func(t *testing.T, address, topic string, n int) []record {
			out := output(t, nil, kcat, "-C", "-b", address, "-t", topic, "-p", "0", "-o", "beginning", "-c", strconv.Itoa(n),
				"-e", "-q", "-J", "-X", "check.crcs=true")
			return kcatRecords(t, out)
		},
		member: func(t *testing.T, address, topic, group string, n int) []record {
			return kcatRecords(t, output(t, nil, kcat, "-b", address, "-X", "auto.offset.reset=earliest", "-c", strconv.Itoa(n), "-q", "-J",
				"-G", group, topic))
		},
	})
}

// kcatRecords reads what kcat -J has printed.
func kcatRecords(t *testing.T, out string) (rs []record) {
	t.Helper()
	for line := range strings.Lines(out) {
		var m struct {
			Key, Payload string
			Headers      []string
		}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("kcat printed %.200q: %v", line, err)
		}
		r := record{key: []byte(m.Key), value: []byte(m.Payload)}
		for i := 0; i+1 < len(m.Headers); i += 2 {
			r.headers = append(r.headers, header{m.Headers[i], []byte(m.Headers[i+1])})
		}
		rs = append(rs, r)
	}
	return rs
}
