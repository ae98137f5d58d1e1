package wire

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// fill sets v, a struct of kmsg, to random values: also empty and nil ones, and unknown tags if tags.
func fill(rng *rand.Rand, v reflect.Value, tags bool) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(rng.IntN(2) == 1)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(rng.Uint64()))
	case reflect.Uint16:
		v.SetUint(rng.Uint64() & 0xffff)
	case reflect.Float64:
		v.SetFloat(rng.NormFloat64())
	case reflect.String:
		v.SetString(strings.Repeat("ü", rng.IntN(20)))
	case reflect.Array:
		for i := range v.Len() {
			v.Index(i).SetUint(rng.Uint64() & 0xff)
		}
	case reflect.Pointer:
		if rng.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(rng, v.Elem(), tags)
		}
	case reflect.Slice:
		if n := rng.IntN(5) - 1; n >= 0 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
		}
		for i := range v.Len() {
			if v.Type().Elem().Kind() == reflect.Uint8 {
				v.Index(i).SetUint(rng.Uint64() & 0xff)
			} else {
				fill(rng, v.Index(i), tags)
			}
		}
	case reflect.Struct:
		if unknown, ok := v.Addr().Interface().(*kmsg.Tags); ok {
			for n := rng.IntN(4); tags && n > 1; n-- {
				unknown.Set(1000+rng.Uint32N(9000), []byte("later"))
			}
			return
		}
		for i := range v.NumField() {
			fill(rng, v.Field(i), tags)
		}
	}
}

// randomRequest makes a request of the version with random content.
func randomRequest(rng *rand.Rand, key Key, version int16) kmsg.Request {
	request := kmsg.RequestForKey(int16(key))
	fill(rng, reflect.ValueOf(request).Elem(), rng.IntN(2) == 0)
	request.SetVersion(version)
	return request
}

// memory is what a decoded value takes beside its own struct, counted as Decode counts it.
func memory(v reflect.Value) (n int64) {
	switch v.Kind() {
	case reflect.String:
		return stringSize(v.Len())
	case reflect.Pointer:
		if v.IsNil() {
			return 0
		}
		return int64(v.Type().Elem().Size()) + memory(v.Elem())
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return 0
		}
		for i := range v.Len() {
			n += int64(v.Type().Elem().Size()) + memory(v.Index(i))
		}
	case reflect.Struct:
		if tags, ok := v.Addr().Interface().(*kmsg.Tags); ok {
			if tags.Len() == 0 {
				return 0
			}
			return unknownTagsSize + int64(tags.Len())*unknownTagSize
		}
		for i := range v.NumField() {
			n += memory(v.Field(i))
		}
	}
	return n
}

// walkOf walks over body without decoding it.
func walkOf(key Key, version int16, body []byte, budget int64) *walk {
	w := &walk{reader: reader{src: body, flexible: key.Flexible(version)}, version: version, budget: budget}
	w.shape(schemaOf(key).root)
	return w
}

// eachVersion runs f for every key and version that kmsg knows.
func eachVersion(t *testing.T, f func(t *testing.T, key Key, version int16)) {
	for _, key := range Keys() {
		t.Run(key.String(), func(t *testing.T) {
			for version := range schemaOf(key).maximum + 1 {
				f(t, key, version)
			}
		})
	}
}

func TestWalkTakesExactlyWhatKmsgWrites(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	eachVersion(t, func(t *testing.T, key Key, version int16) {
		for range 30 {
			body := randomRequest(rng, key, version).AppendTo(nil)
			w := walkOf(key, version, body, math.MaxInt64)
			if !w.ok() || w.at != len(body) {
				t.Fatalf("v%d: walked %d of %d bytes: %v", version, w.at, len(body), w.err(key))
			}
			request, err := Decode(key, version, append(body, "rest"...), math.MaxInt64) // W-3: a rest is tolerated
			if err != nil {
				t.Fatal(err)
			}
			if again := request.AppendTo(nil); !bytes.Equal(again, body) {
				t.Fatalf("v%d: decoded and encoded again:\n%x, was\n%x", version, again, body)
			}
			used, want := math.MaxInt64-w.budget, memory(reflect.ValueOf(request).Elem())
			if used != want {
				t.Fatalf("v%d: charged %d bytes for %d in %+v", version, used, want, request)
			}
		}
	})
}

// Every strict prefix of a message is malformed, as its last byte belongs to it.
func TestDecodeRefusesEveryPrefix(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	eachVersion(t, func(t *testing.T, key Key, version int16) {
		body := randomRequest(rng, key, version).AppendTo(nil)
		for n := range body {
			if _, err := Decode(key, version, body[:n:n], math.MaxInt64); !errors.Is(err, ErrMalformed) {
				t.Fatalf("v%d: %d of %d bytes: %v", version, n, len(body), err)
			}
		}
	})
}

// What the walk lets through, kmsg reads, whatever the bytes; and the budget holds what kmsg takes.
func TestMutatedRequests(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	eachVersion(t, func(t *testing.T, key Key, version int16) {
		for range 100 {
			body := randomRequest(rng, key, version).AppendTo(nil)
			for range 1 + rng.IntN(3) {
				if len(body) > 0 {
					body[rng.IntN(len(body))] = byte(rng.IntN(256))
				}
			}
			checkDecode(t, key, version, body, 1<<20)
		}
	})
}

// checkDecode fails unless Decode keeps its promises for the body.
func checkDecode(t *testing.T, key Key, version int16, body []byte, budget int64) {
	t.Helper()
	request, err := Decode(key, version, body, budget)
	if err != nil {
		s := schemaOf(key)
		if s != nil && version >= 0 && version <= s.maximum && walkOf(key, version, body, budget-s.size).ok() {
			t.Fatalf("the walk lets %s v%d %x through, kmsg does not: %v", key, version, body, err)
		}
		return
	}
	if request.GetVersion() != version || request.Key() != int16(key) {
		t.Fatalf("decoded %s v%d as key %d v%d", key, version, request.Key(), request.GetVersion())
	}
	if n := memory(reflect.ValueOf(request).Elem()); n > budget {
		t.Fatalf("%s v%d takes %d bytes of a budget of %d", key, version, n, budget)
	}
}

// allocated returns the bytes that f allocates, the same each time. The counter is that of the whole process, to which the
// runtime adds now and then: what f takes shows in every run, and so in the least of them.
func allocated(f func()) int64 {
	least := int64(math.MaxInt64)
	for range 3 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		least = min(least, int64(after.TotalAlloc-before.TotalAlloc))
	}
	return least
}

func TestBudgetHoldsWhatIsAllocated(t *testing.T) {
	if testing.Short() {
		t.Skip("stops the world a few hundred times")
	}
	rng := rand.New(rand.NewPCG(7, 8))
	eachVersion(t, func(t *testing.T, key Key, version int16) {
		body := randomRequest(rng, key, version).AppendTo(nil)
		w := walkOf(key, version, body, math.MaxInt64)
		used := math.MaxInt64 - w.budget + schemaOf(key).size
		if _, err := Decode(key, version, body, used-1); !errors.Is(err, ErrBudget) {
			t.Fatalf("v%d: one byte under the budget: %v", version, err)
		}
		got := allocated(func() {
			if _, err := Decode(key, version, body, used); err != nil {
				t.Error(err)
			}
		})
		if limit := used*5/4 + 1024; got > limit { // the allocator rounds a slice up by an eighth at most
			t.Fatalf("v%d: allocates %d bytes for a budget of %d", version, got, used)
		}
	})
}

// The unknown tags of one struct, as many as fit: what kmsg's maps take stays within what is charged.
func TestBudgetOfUnknownTags(t *testing.T) {
	for _, n := range []int{1, 8, 9, 100, 1000, 30000} {
		request := kmsg.NewPtrHeartbeatRequest()
		request.Version = 4
		for i := range n {
			request.UnknownTags.Set(uint32(i), nil)
		}
		body := request.AppendTo(nil)
		w := walkOf(Heartbeat, 4, body, math.MaxInt64)
		got := allocated(func() { _, _ = Decode(Heartbeat, 4, body, math.MaxInt64) })
		if used := math.MaxInt64 - w.budget; got > used+1024 {
			t.Errorf("%d tags take %d bytes, charged %d", n, got, used)
		}
	}
}

// A count of 2³¹-1 in one array and a frame of a hundred megabytes: neither memory nor time is spent on it.
func TestFalseCounts(t *testing.T) {
	lie := []byte{0xff, 0xff, 0xff, 0xff, 0x07, 1, 1, 1}
	if _, err := Decode(Metadata, 12, lie, 1<<20); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
	body := make([]byte, 100<<20)
	copy(body, []byte{3, 0, 0, 0}) // 50 million topics with empty names, and the bytes are there
	got := allocated(func() {
		if _, err := Decode(Metadata, 1, body, 64<<20); !errors.Is(err, ErrBudget) {
			t.Error(err)
		}
	})
	if got > 4096 {
		t.Errorf("%d bytes allocated to refuse a request", got)
	}
}

func TestDecodeErrorTellsFieldAndByte(t *testing.T) {
	body := kmsg.NewPtrProduceRequest()
	body.Version = 7
	partitions := []kmsg.ProduceRequestTopicPartition{{Records: []byte("abc")}}
	body.Topics = []kmsg.ProduceRequestTopic{{Topic: "views", Partitions: partitions}}
	raw := body.AppendTo(nil)
	raw[len(raw)-4] = 200
	_, err := Decode(Produce, 7, raw, 1<<20)
	want := "malformed request: Produce v7: Topics.Partitions.Records at byte 31 of the body: length 200, 3 bytes left"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if _, err := Decode(5, 0, nil, 1<<20); !errors.Is(err, ErrUnknownKey) {
		t.Error(err)
	}
	if _, err := Decode(Heartbeat, 5, nil, 1<<20); !errors.Is(err, ErrUnknownVersion) {
		t.Error(err)
	}
	if _, err := Decode(Heartbeat, -1, nil, 1<<20); !errors.Is(err, ErrUnknownVersion) {
		t.Error(err)
	}
}
