package main

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// recordFormat appends a record to dst in the form of a -f layout.
type recordFormat []func(dst []byte, r *kgo.Record) []byte

func (f recordFormat) append(dst []byte, r *kgo.Record) []byte {
	for _, piece := range f {
		dst = piece(dst, r)
	}
	return dst
}

const formatHelp = `  %t topic       %p partition   %o offset      %e leader epoch
  %k key         %K its length in bytes, -1 for a null key
  %v value       %V its length in bytes, -1 for a null value   (%s and %S are the same)
  %h headers     as name=value,name=value                      %H their number
  %T timestamp   in milliseconds since 1970                    %d the same as 2026-01-01T15:04:05.000Z
  %% a percent sign; \n \r \t \\ \0 \xHH bytes
%k, %v and %s take an encoding: %v{hex}, %v{base64}, %v{quote}`

// formatVerbs are the verbs of a layout, those of kcat and rpk where the two agree.
var formatVerbs = map[byte]func(dst []byte, r *kgo.Record) []byte{
	't': func(dst []byte, r *kgo.Record) []byte { return append(dst, r.Topic...) },
	'p': func(dst []byte, r *kgo.Record) []byte { return strconv.AppendInt(dst, int64(r.Partition), 10) },
	'o': func(dst []byte, r *kgo.Record) []byte { return strconv.AppendInt(dst, r.Offset, 10) },
	'e': func(dst []byte, r *kgo.Record) []byte { return strconv.AppendInt(dst, int64(r.LeaderEpoch), 10) },
	'K': func(dst []byte, r *kgo.Record) []byte { return appendLength(dst, r.Key) },
	'V': func(dst []byte, r *kgo.Record) []byte { return appendLength(dst, r.Value) },
	'S': func(dst []byte, r *kgo.Record) []byte { return appendLength(dst, r.Value) },
	'h': appendHeaders,
	'H': func(dst []byte, r *kgo.Record) []byte { return strconv.AppendInt(dst, int64(len(r.Headers)), 10) },
	'T': func(dst []byte, r *kgo.Record) []byte { return strconv.AppendInt(dst, r.Timestamp.UnixMilli(), 10) },
	'd': func(dst []byte, r *kgo.Record) []byte {
		return r.Timestamp.UTC().AppendFormat(dst, "2006-01-02T15:04:05.000Z07:00")
	},
	'%': func(dst []byte, _ *kgo.Record) []byte { return append(dst, '%') },
}

// contentVerbs are the verbs that stand for bytes and take an encoding.
var contentVerbs = map[byte]func(r *kgo.Record) []byte{
	'k': func(r *kgo.Record) []byte { return r.Key },
	'v': func(r *kgo.Record) []byte { return r.Value },
	's': func(r *kgo.Record) []byte { return r.Value },
}

// encodings are the forms in which bytes can be written.
var encodings = map[string]func(dst, src []byte) []byte{
	"":       func(dst, src []byte) []byte { return append(dst, src...) },
	"hex":    hex.AppendEncode,
	"base64": base64.StdEncoding.AppendEncode,
	"quote":  func(dst, src []byte) []byte { return strconv.AppendQuote(dst, string(src)) },
}

// parseFormat compiles a layout. Its errors name the position that is not understood.
func parseFormat(layout string) (recordFormat, error) {
	var format recordFormat
	var literal []byte
	flush := func() {
		if len(literal) > 0 {
			text := literal
			format = append(format, func(dst []byte, _ *kgo.Record) []byte { return append(dst, text...) })
			literal = nil
		}
	}
	for i := 0; i < len(layout); {
		switch layout[i] {
		case '\\':
			b, n, err := parseEscape(layout[i:])
			if err != nil {
				return nil, fmt.Errorf("at %d: %w", i+1, err)
			}
			literal = append(literal, b)
			i += n
		case '%':
			flush()
			piece, n, err := parseVerb(layout[i:])
			if err != nil {
				return nil, fmt.Errorf("at %d: %w", i+1, err)
			}
			format = append(format, piece)
			i += n
		default:
			literal = append(literal, layout[i])
			i++
		}
	}
	flush()
	return format, nil
}

// parseVerb reads the verb at the beginning of s and returns how many bytes of s it takes.
func parseVerb(s string) (func(dst []byte, r *kgo.Record) []byte, int, error) {
	if len(s) < 2 {
		return nil, 0, fmt.Errorf("a lone %%; write %%%% for a percent sign")
	}
	if verb, ok := formatVerbs[s[1]]; ok {
		return verb, 2, nil
	}
	content, ok := contentVerbs[s[1]]
	if !ok {
		return nil, 0, fmt.Errorf("%%%c is no verb", s[1])
	}
	name, n := "", 2
	if strings.HasPrefix(s[2:], "{") {
		end := strings.IndexByte(s, '}')
		if end < 0 {
			return nil, 0, fmt.Errorf("%%%c{ has no closing brace; write \\x7b for a brace", s[1])
		}
		name, n = s[3:end], end+1
		if encodings[name] == nil || name == "" {
			return nil, 0, fmt.Errorf("%q is no encoding; it is hex, base64 or quote (write \\x7b for a brace)", name)
		}
	}
	encode := encodings[name]
	return func(dst []byte, r *kgo.Record) []byte { return encode(dst, content(r)) }, n, nil
}

// escapes are the one-letter escapes of layouts and separators.
var escapes = map[byte]byte{'n': '\n', 'r': '\r', 't': '\t', '\\': '\\', '0': 0}

// parseEscape reads the escape at the beginning of s and returns the byte and how many bytes of s it takes.
func parseEscape(s string) (byte, int, error) {
	if len(s) < 2 {
		return 0, 0, fmt.Errorf(`a lone \; write \\ for a backslash`)
	}
	if b, ok := escapes[s[1]]; ok {
		return b, 2, nil
	}
	if s[1] == 'x' && len(s) >= 4 {
		if b, err := strconv.ParseUint(s[2:4], 16, 8); err == nil {
			return byte(b), 4, nil
		}
	}
	return 0, 0, fmt.Errorf(`\%c is no escape; it is \n \r \t \\ \0 or \xHH`, s[1])
}

// unescape replaces the escapes in s.
func unescape(s string) (string, error) {
	var out []byte
	for i := 0; i < len(s); {
		if s[i] != '\\' {
			out = append(out, s[i])
			i++
			continue
		}
		b, n, err := parseEscape(s[i:])
		if err != nil {
			return "", err
		}
		out = append(out, b)
		i += n
	}
	return string(out), nil
}

func appendLength(dst, content []byte) []byte {
	if content == nil {
		return append(dst, "-1"...)
	}
	return strconv.AppendInt(dst, int64(len(content)), 10)
}

func appendHeaders(dst []byte, r *kgo.Record) []byte {
	for i, h := range r.Headers {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, h.Key...)
		dst = append(dst, '=')
		dst = append(dst, h.Value...)
	}
	return dst
}

// millis is the time of a timestamp in milliseconds.
func millis(ms int64) time.Time { return time.UnixMilli(ms) }
