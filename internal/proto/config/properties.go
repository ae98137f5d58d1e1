package config

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
)

// propertiesBytesMax bounds a configuration file before it is read.
const propertiesBytesMax = 4 << 20

// ParseProperties reads r in the syntax of Java properties, as UTF-8: a key and a value a line, separated by '=', ':' or
// space; comments start with # or !; a backslash escapes a separator, \t \n \r \f, a code unit as \uXXXX, or the end of the
// line. name stands for the file in settings and errors. The settings are in file order and may repeat a key; their names
// and values are not checked.
func ParseProperties(name string, r io.Reader) ([]Setting, error) {
	content, err := io.ReadAll(io.LimitReader(r, propertiesBytesMax+1))
	if err != nil {
		return nil, fmt.Errorf("reading configuration %s: %w", name, err)
	}
	if len(content) > propertiesBytesMax {
		return nil, fmt.Errorf("configuration %s is larger than %d MiB; is it the right file?", name, propertiesBytesMax>>20)
	}
	text := strings.TrimPrefix(string(content), "\ufeff")
	lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text), "\n")
	var settings []Setting
	for i := 0; i < len(lines); i++ {
		first, line := i+1, strings.TrimLeft(lines[i], blanks)
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		for continues(line) && i+1 < len(lines) {
			i++
			line = line[:len(line)-1] + strings.TrimLeft(lines[i], blanks)
		}
		if continues(line) {
			line = line[:len(line)-1] // at the end of the file there is nothing to go on with
		}
		if line == "" {
			continue
		}
		s, err := parseProperty(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, first, err)
		}
		s.From, s.File, s.Line = FromFile, name, first
		settings = append(settings, s)
	}
	return settings, nil
}

// blanks are the characters that separate and that may stand in front of keys and values.
const blanks = " \t\f"

// continues reports whether line ends in an odd number of backslashes.
func continues(line string) bool {
	return (len(line)-len(strings.TrimRight(line, `\`)))%2 == 1
}

// parseProperty splits one logical line and undoes its escapes.
func parseProperty(line string) (Setting, error) {
	end := 0
	for end < len(line) && !strings.ContainsRune("=:"+blanks, rune(line[end])) {
		if line[end] == '\\' {
			end++
		}
		end++
	}
	end = min(end, len(line))
	rest := strings.TrimLeft(line[end:], blanks)
	if rest != "" && (rest[0] == '=' || rest[0] == ':') {
		rest = strings.TrimLeft(rest[1:], blanks)
	}
	key, err := unescape(line[:end])
	if err != nil {
		return Setting{}, err
	}
	if key == "" {
		return Setting{}, fmt.Errorf("there is no key in front of %q", line[end:end+1])
	}
	value, err := unescape(rest)
	if err != nil {
		return Setting{}, fmt.Errorf("%s: %w", key, err)
	}
	return Setting{Key: key, Value: value}, nil
}

// unescape undoes the escapes of a key or value.
func unescape(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var b strings.Builder
	var units []uint16 // escaped code units that may be half of a surrogate pair
	flush := func() {
		b.WriteString(string(utf16.Decode(units)))
		units = units[:0]
	}
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) && s[i+1] == 'u' {
			if i+6 > len(s) {
				return "", fmt.Errorf(`the escape %q is not of the form \uXXXX`, s[i:])
			}
			n, err := strconv.ParseUint(s[i+2:i+6], 16, 16)
			if err != nil {
				return "", fmt.Errorf(`the escape %q is not of the form \uXXXX`, s[i:i+6])
			}
			units = append(units, uint16(n))
			i += 5
			continue
		}
		flush()
		c := s[i]
		if c == '\\' && i+1 < len(s) {
			i++
			c = s[i]
			if at := strings.IndexByte("tnrf", c); at >= 0 {
				c = "\t\n\r\f"[at]
			}
		}
		b.WriteByte(c)
	}
	flush()
	return b.String(), nil
}
