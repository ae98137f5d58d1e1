package compare

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// answer is what a broker said to one request of a script.
type answer struct {
	key     int16
	step    string // "script: step"
	version int16
	fields  []field
}

// transcript is all answers of a broker in the order of the scripts.
type transcript []answer

// encode writes a transcript as text: a step's answers in several versions stand once where they are the same.
//
//	# DescribeQuorum cluster: quorum of another topic
//	v0-2
//	Topics[a].Partitions[0]: ErrorCode=3
func (t transcript) encode() []byte {
	var out bytes.Buffer
	for len(t) > 0 {
		n := 1
		for n < len(t) && t[n].step == t[0].step && t[n].key == t[0].key {
			n++
		}
		fmt.Fprintf(&out, "# %s %s\n", kmsg.NameForKey(t[0].key), t[0].step)
		var bodies []string
		said := map[string][]int16{}
		for _, a := range t[:n] {
			body := encodeFields(a.fields)
			if said[body] == nil {
				bodies = append(bodies, body)
			}
			said[body] = append(said[body], a.version)
		}
		for _, body := range bodies {
			fmt.Fprintf(&out, "%s\n%s", ranges(said[body]), body)
		}
		t = t[n:]
	}
	return out.Bytes()
}

func encodeFields(fs []field) string {
	var out strings.Builder
	for i, f := range fs {
		if i == 0 || fs[i-1].at != f.at {
			if i > 0 {
				out.WriteByte('\n')
			}
			fmt.Fprintf(&out, "%s:", f.at)
		}
		value := f.value
		if value == "" || strings.ContainsAny(value, " \"\n\\") {
			value = strconv.Quote(value)
		}
		fmt.Fprintf(&out, " %s=%s", f.name, value)
	}
	if len(fs) > 0 {
		out.WriteByte('\n')
	}
	return out.String()
}

// ranges is versions as text: "v0-3,5".
func ranges(versions []int16) string {
	versions = slices.Clone(versions)
	slices.Sort(versions)
	out := "v"
	for i := 0; i < len(versions); {
		n := 1
		for i+n < len(versions) && versions[i+n] == versions[i]+int16(n) {
			n++
		}
		if i > 0 {
			out += ","
		}
		out += strconv.Itoa(int(versions[i]))
		if n > 1 {
			out += "-" + strconv.Itoa(int(versions[i+n-1]))
		}
		i += n
	}
	return out
}

// decode reads what encode wrote.
func decode(text []byte) (transcript, error) {
	keys := map[string]int16{}
	for k := range int16(kmsg.MaxKey + 1) {
		keys[kmsg.NameForKey(k)] = k
	}
	var t transcript
	var head answer
	var current []int // the answers that lines belong to
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if rest, ok := strings.CutPrefix(line, "# "); ok {
			name, step, _ := strings.Cut(rest, " ")
			head = answer{key: keys[name], step: step}
			continue
		}
		if line[0] == 'v' && !strings.Contains(line, ":") {
			current = current[:0]
			for _, r := range strings.Split(line[1:], ",") {
				first, last, ok := strings.Cut(r, "-")
				if !ok {
					last = first
				}
				from, err1 := strconv.Atoi(first)
				to, err2 := strconv.Atoi(last)
				if err1 != nil || err2 != nil {
					return nil, fmt.Errorf("line %d: bad versions %q", n, line)
				}
				for v := from; v <= to; v++ {
					head.version = int16(v)
					current = append(current, len(t))
					t = append(t, head)
				}
			}
			continue
		}
		fs, err := decodeFields(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		for _, i := range current {
			t[i].fields = append(t[i].fields, fs...)
		}
	}
	return t, lines.Err()
}

func decodeFields(line string) ([]field, error) {
	at, rest, ok := cutPath(line)
	if !ok {
		return nil, fmt.Errorf("no path in %q", line)
	}
	var fs []field
	for rest != "" {
		rest = strings.TrimPrefix(rest, " ")
		name, after, ok := strings.Cut(rest, "=")
		if !ok {
			return nil, fmt.Errorf("no value in %q", rest)
		}
		value, left, _ := strings.Cut(after, " ")
		if strings.HasPrefix(after, `"`) {
			quoted, err := strconv.QuotedPrefix(after)
			if err != nil {
				return nil, fmt.Errorf("bad value in %q: %w", rest, err)
			}
			left = after[len(quoted):]
			if value, err = strconv.Unquote(quoted); err != nil {
				return nil, err
			}
		}
		fs = append(fs, field{at, name, value})
		rest = left
	}
	return fs, nil
}

// cutPath cuts the path off a line: the first colon outside brackets ends it.
func cutPath(line string) (at, rest string, ok bool) {
	depth := 0
	for i, c := range line {
		switch {
		case c == '[':
			depth++
		case c == ']':
			depth--
		case c == ':' && depth == 0:
			return line[:i], line[i+1:], true
		}
	}
	return "", "", false
}
