package wire

import (
	"bufio"
	"fmt"
	"os"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// testdata/api-versions-4.3.1.txt is what kafka-broker-api-versions prints of a running 4.3.1: key, name, range.
func TestAdvertisedVersionsAreThoseOfApache(t *testing.T) {
	f, err := os.Open("testdata/api-versions-4.3.1.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	advertised := map[Key]bool{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var key Key
		var name string
		var want Range
		if _, err := fmt.Sscan(lines.Text(), (*int16)(&key), &name, &want.Min, &want.Max); err != nil {
			t.Fatal(lines.Text(), err)
		}
		advertised[key] = true
		if key.String() != name || key.Apache() != want || key.Listeners()&OnBroker == 0 {
			t.Errorf("%s is %s %v on listeners %b", lines.Text(), key, key.Apache(), key.Listeners())
		}
	}
	for _, key := range Keys() {
		onBroker := key.Listeners()&OnBroker != 0
		if onBroker != advertised[key] && key != GetTelemetrySubscriptions && key != PushTelemetry {
			t.Errorf("%s: on a broker's listener %v, advertised %v", key, onBroker, advertised[key])
		}
	}
}

func TestKeysAgreeWithKmsg(t *testing.T) {
	for k := range int16(200) {
		key, request := Key(k), kmsg.RequestForKey(k)
		if dead := k >= 4 && k <= 7; key.Known() != (request != nil && !dead) {
			t.Errorf("key %d: known %v, kmsg has %T", k, key.Known(), request)
		}
		if !key.Known() {
			continue
		}
		for version := int16(-1); version <= request.MaxVersion()+1; version++ {
			request.SetVersion(version)
			if key.Flexible(version) != request.IsFlexible() {
				t.Errorf("%s v%d flexible: %v, kmsg says %v", key, version, key.Flexible(version), request.IsFlexible())
			}
		}
		if key.Apache().Max > request.MaxVersion() {
			t.Errorf("%s: Apache has version %d, kmsg %d", key, key.Apache().Max, request.MaxVersion())
		}
	}
}

func TestUnknownKeys(t *testing.T) {
	for _, key := range []Key{-1, -32768, 4, 7, keyEnd, 32767} {
		if key.Known() || key.Flexible(100) || key.Listeners() != 0 || key.Apache().Contains(0) {
			t.Errorf("%d is taken for %s", key, key)
		}
	}
	if got := Key(-7).String(); got != "key -7" {
		t.Errorf("an unknown key is called %q", got)
	}
}
