package config

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParseProperties(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"separators", "a=1\nb:2\nc 3\nd\t4\ne = 5\nf : 6\ng   =7", "1 a=1|2 b=2|3 c=3|4 d=4|5 e=5|6 f=6|7 g=7"},
		{"only the first separator counts", "a==1\nb=:2\nc : = 3", "1 a==1|2 b=:2|3 c== 3"},
		{"comments and empty lines", "# x=1\n  ! y=2\n\n \t \na=#1\n", "5 a=#1"},
		{"no value", "a\nb=\nc:", "1 a=|2 b=|3 c="},
		{"space around", "  a  =  1 2  ", "1 a=1 2  "},
		{"escaped separators", `a\=b\:c\ d=1\=2`, "1 a=b:c d=1=2"},
		{"continuation", "a=1,\\\n   2,\\\n   3\nb=4", "1 a=1,2,3|4 b=4"},
		{"continuation over a comment sign", "a=1\\\n#2", "1 a=1#2"},
		{"an even number of backslashes ends the line", "a=1\\\\\nb=2", `1 a=1\|2 b=2`},
		{"continuation at the end", "a=1\\", "1 a=1"},
		{"nothing but a continuation", "\\\n\\\n\na=1\n\\", "4 a=1"},
		{"escapes", `a=\t\n\r\f\q`, "1 a=\t\n\r\fq"},
		{"unicode", `\u0061=\u00e4\uD83D\uDE00x`, "1 a=ä😀x"},
		{"line ends", "a=1\r\nb=2\rc=3\n", "1 a=1|2 b=2|3 c=3"},
		{"byte order mark", "\ufeffa=1", "1 a=1"},
		{"repeated", "a=1\na=2", "1 a=1|2 a=2"},
	} {
		settings, err := ParseProperties("f", strings.NewReader(c.in))
		var got []string
		for _, s := range settings {
			if s.File != "f" || s.From != FromFile {
				t.Errorf("%s: %+v has no origin", c.name, s)
			}
			got = append(got, fmt.Sprintf("%d %s=%s", s.Line, s.Key, s.Value))
		}
		if err != nil || strings.Join(got, "|") != c.want {
			t.Errorf("%s: got %q, %v; want %q", c.name, got, err, c.want)
		}
	}
}

func TestParsePropertiesErrors(t *testing.T) {
	for in, want := range map[string]string{
		"a=1\n=2":        "f:2: there is no key",
		`a=\u12`:         `f:1: a: the escape`,
		"\n" + `a\uxyzw`: `f:2: the escape`,
		strings.Repeat("a", propertiesBytesMax+1): "larger than 4 MiB",
	} {
		if _, err := ParseProperties("f", strings.NewReader(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v; want %q", err, want)
		}
	}
}

// FuzzParseProperties reads what was written with every special character escaped, and whatever else comes.
func FuzzParseProperties(f *testing.F) {
	f.Add("a.b", "c d", "x=1\\\n 2")
	f.Add("ä=:", "  \\u0041\n", "# c\r\n! d")
	f.Fuzz(func(t *testing.T, key, value, wild string) {
		if _, err := ParseProperties("f", strings.NewReader(wild)); err != nil && !strings.HasPrefix(err.Error(), "f:") {
			t.Fatalf("an error without its place: %v", err)
		}
		if key == "" || !utf8.ValidString(key) || !utf8.ValidString(value) {
			return
		}
		settings, err := ParseProperties("f", strings.NewReader(escape(key)+"="+escape(value)+"\n"))
		if err != nil || len(settings) != 1 || settings[0].Key != key || settings[0].Value != value {
			t.Fatalf("%q=%q became %+v, %v", key, value, settings, err)
		}
	})
}

// escape writes s so that no character of it has a meaning.
func escape(s string) string {
	var b strings.Builder
	for _, c := range s {
		switch {
		case c > 0xffff:
			b.WriteRune(c)
		default:
			fmt.Fprintf(&b, `\u%04x`, c)
		}
	}
	return b.String()
}
