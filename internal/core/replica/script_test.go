package replica

import (
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/script"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts in testdata print as what they should print")

// TestScripts plays the stories in testdata: comments, then commands, dashes and what they print, up to an empty line.
//
//	lead KEY=VALUE…          begins a leadership: self, epoch, replicas, isr, min, durable, end, synced, hw
//	append END, flush END    the own log grows, or is synced
//	fetch BROKER OFFSET      a follower asks for records from there on
//	reconfigure KEY=VALUE…   new metadata of the same epoch: replicas, isr, min, durable
//	wait DURATION            time passes
//	lagging DURATION         who was not caught up for that long
//	enough                   whether acks=all may be taken
//
// After a block the high watermark is printed, with a + where the last command advanced it.
func TestScripts(t *testing.T) {
	script.Play(t, *rewrite, func(t *testing.T) func([]string) string {
		s := stage{now: time.Unix(1000, 0)}
		return func(commands []string) string {
			var out strings.Builder
			for _, command := range commands {
				out.WriteString(s.run(t, command))
			}
			fmt.Fprintf(&out, "high watermark %d%s\n", s.leader.HighWatermark(), map[bool]string{true: " +"}[s.out.Advanced])
			return out.String()
		}
	})
}

// stage is a leadership on which a script plays.
type stage struct {
	leader *Leader
	cfg    Config
	now    time.Time
	out    Output
}

func (s *stage) run(t *testing.T, command string) string {
	t.Helper()
	words := strings.Fields(command)
	arg := func(i int) int64 {
		n, err := strconv.ParseInt(words[i], 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		return n
	}
	duration := func() time.Duration {
		d, err := time.ParseDuration(words[1])
		if err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		return d
	}
	s.out = Output{}
	switch words[0] {
	case "lead":
		s.cfg = Config{Self: 1, Epoch: 1, MinInSync: 1, Began: s.now}
		at := s.configure(t, words[1:])
		s.leader = NewLeader(s.cfg, at["end"], at["synced"], at["hw"])
	case "reconfigure":
		s.configure(t, words[1:])
		s.out = s.leader.Reconfigured(s.cfg)
	case "append":
		s.out = s.leader.Appended(moldau.Offset(arg(1)))
	case "flush":
		s.out = s.leader.Flushed(moldau.Offset(arg(1)))
	case "fetch":
		s.out = s.leader.Fetched(moldau.BrokerID(arg(1)), moldau.Offset(arg(2)), s.now)
	case "wait":
		s.now = s.now.Add(duration())
	case "lagging":
		return fmt.Sprintf("lagging %v\n", s.leader.Lagging(s.now.Add(-duration())))
	case "enough":
		return fmt.Sprintf("enough in sync: %v\n", s.leader.EnoughInSync())
	default:
		t.Fatalf("unknown command %q", command)
	}
	return ""
}

// configure takes KEY=VALUE words into the configuration, and returns those that are offsets.
func (s *stage) configure(t *testing.T, words []string) map[string]moldau.Offset {
	t.Helper()
	offsets := make(map[string]moldau.Offset)
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		var numbers []int
		for text := range strings.SplitSeq(value, ",") {
			n, err := strconv.Atoi(text)
			if err != nil && key != "durable" {
				t.Fatalf("%s: %v", word, err)
			}
			numbers = append(numbers, n)
		}
		switch key {
		case "epoch":
			s.cfg.Epoch = moldau.LeaderEpoch(numbers[0])
		case "replicas":
			s.cfg.Replicas = brokers(numbers)
		case "isr":
			s.cfg.InSync = brokers(numbers)
		case "min":
			s.cfg.MinInSync = numbers[0]
		case "durable":
			s.cfg.Durable = value == "true"
		case "end", "synced", "hw":
			offsets[key] = moldau.Offset(numbers[0])
		default:
			t.Fatalf("unknown word %q", word)
		}
	}
	return offsets
}

func brokers(numbers []int) []moldau.BrokerID {
	var ids []moldau.BrokerID
	for _, n := range numbers {
		ids = append(ids, moldau.BrokerID(n))
	}
	return slices.Clip(ids)
}
