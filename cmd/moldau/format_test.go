package main

import (
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func testRecord() *kgo.Record {
	return &kgo.Record{
		Topic: "orders", Partition: 2, Offset: 41, LeaderEpoch: 7,
		Key: []byte("k1"), Value: []byte{'v', 0xff},
		Headers:   []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "b"}},
		Timestamp: time.UnixMilli(1767225600123),
	}
}

func TestFormatVerbs(t *testing.T) {
	for layout, want := range map[string]string{
		`%t %p %o %k %v\n`:     "orders 2 41 k1 v\xff\n",
		`%e %K %V %S`:          "7 2 2 2",
		`%h (%H)`:              "a=1,b= (2)",
		`%T %d`:                "1767225600123 2026-01-01T00:00:00.123Z",
		`100%%`:                "100%",
		`\t\r\\\0\x41`:         "\t\r\\\x00A",
		`%k{hex} %v{base64}`:   "6b31 dv8=",
		`%v{quote}`:            `"v\xff"`,
		`%s|%s{hex}`:           "v\xff|76ff",
		`{%p}`:                 "{2}",
		``:                     "",
		`plain text, no verbs`: "plain text, no verbs",
	} {
		format, err := parseFormat(layout)
		if err != nil {
			t.Errorf("%q: %v", layout, err)
			continue
		}
		if got := string(format.append(nil, testRecord())); got != want {
			t.Errorf("%q: %q, want %q", layout, got, want)
		}
	}
}

func TestFormatTellsNullFromEmpty(t *testing.T) {
	format, err := parseFormat(`%K %V`)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(format.append(nil, &kgo.Record{Value: []byte{}})); got != "-1 0" {
		t.Errorf("lengths of a null key and an empty value: %q, want \"-1 0\"", got)
	}
}

func TestFormatErrorsNameThePlace(t *testing.T) {
	for layout, want := range map[string]string{
		`%t %z`:    "at 4: %z is no verb",
		`abc%`:     "at 4: a lone %",
		`a\`:       `at 2: a lone \`,
		`\q`:       `at 1: \q is no escape`,
		`\x4`:      `at 1: \x is no escape`,
		`\xzz`:     `at 1: \x is no escape`,
		`%v{rot}`:  `at 1: "rot" is no encoding`,
		`%v{}`:     `at 1: "" is no encoding`,
		`%k %v{hx`: "at 4: %v{ has no closing brace",
	} {
		_, err := parseFormat(layout)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q in it", layout, err, want)
		}
	}
}

func FuzzParseFormat(f *testing.F) {
	f.Add(`%t %p %o %k{hex} %v\n`)
	f.Add(`%v{`)
	f.Add(`\x`)
	f.Fuzz(func(t *testing.T, layout string) {
		if format, err := parseFormat(layout); err == nil {
			format.append(nil, testRecord())
		}
	})
}
