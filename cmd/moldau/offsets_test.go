package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParsePlace(t *testing.T) {
	zone := time.FixedZone("here", 2*3600)
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, zone)
	at := func(t time.Time) place { return place{placeTime, t.UnixMilli()} }
	for s, want := range map[string]place{
		"start":                      {placeStart, 0},
		"end":                        {placeEnd, 0},
		"0":                          {placeOffset, 0},
		"42":                         {placeOffset, 42},
		"-10":                        {placeEnd, 10},
		"-0":                         {placeEnd, 0},
		"+10":                        {placeStart, 10},
		"@1767225600000":             {placeTime, 1767225600000},
		"@1767225600":                {placeTime, 1767225600000},
		"@-1h":                       at(now.Add(-time.Hour)),
		"@-1h30m":                    at(now.Add(-90 * time.Minute)),
		"@-7d":                       at(now.Add(-7 * 24 * time.Hour)),
		"@-2w":                       at(now.Add(-14 * 24 * time.Hour)),
		"@2026-01-01":                at(time.Date(2026, 1, 1, 0, 0, 0, 0, zone)),
		"@2026-01-01T15:04":          at(time.Date(2026, 1, 1, 15, 4, 0, 0, zone)),
		"@2026-01-01 15:04:05":       at(time.Date(2026, 1, 1, 15, 4, 5, 0, zone)),
		"@2026-01-01T15:04:05Z":      at(time.Date(2026, 1, 1, 15, 4, 5, 0, time.UTC)),
		"@2026-01-01T15:04:05.123Z":  at(time.Date(2026, 1, 1, 15, 4, 5, 123e6, time.UTC)),
		"@2026-01-01T15:04:05+01:00": at(time.Date(2026, 1, 1, 14, 4, 5, 0, time.UTC)),
	} {
		got, err := parsePlace(s, now)
		if err != nil || got != want {
			t.Errorf("%q: %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "-", "+", "--1", "+-1", "1.5", "@", "@yesterday", "@2026-13-01", "begin", "99999999999999999999", "0x10"} {
		if got, err := parsePlace(s, now); err == nil {
			t.Errorf("%q: %v, want an error", s, got)
		}
	}
}

func TestParsePartitions(t *testing.T) {
	for list, want := range map[string][]int32{
		"0":         {0},
		"3,1,1":     {1, 3},
		"0,2-4":     {0, 2, 3, 4},
		"5-5":       {5},
		"1-2,2-3,0": {0, 1, 2, 3},
	} {
		got, err := parsePartitions(strings.Split(list, ","))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v, want %v", list, got, err, want)
		}
	}
	if got, err := parsePartitions(nil); err != nil || got != nil {
		t.Errorf("none: %v, %v, want nil, which stands for all", got, err)
	}
	for _, list := range []string{"", "a", "-1", "3-1", "1-", "0-4000000", "2147483648"} {
		if got, err := parsePartitions([]string{list}); err == nil {
			t.Errorf("%q: %v, want an error", list, got)
		}
	}
}

func TestBoundsCheck(t *testing.T) {
	b := bounds{start: offsets{"t": {0: 10}}, end: offsets{"t": {0: 20}}}
	for offset, inside := range map[int64]bool{9: false, 10: true, 20: true, 21: false} {
		if err := b.check(offsets{"t": {0: offset}}); (err == nil) != inside {
			t.Errorf("offset %d of 10 to 20: %v", offset, err)
		}
	}
}
