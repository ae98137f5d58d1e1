package compare

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// field is one field of a decoded answer. An answer lists those that do not have their default value, so that it reads
// and compares well.
type field struct {
	at    string // the struct that it is in: "Topics[a].Partitions[0]", empty for the response itself
	name  string
	value string
}

func (f field) path() string { return strings.TrimPrefix(f.at+"."+f.name, ".") }

// known is what must differ between two brokers, by the word that stands for it in answers.
type known struct {
	ids     map[[16]byte]string // topic ids
	cluster string
	port    int32
	dir     string // data directory
	begun   time.Time
	names   map[string]string // what the broker has named, such as members of groups
}

// reader turns a decoded response into fields.
type reader struct {
	known  *known
	key    int16
	fields []field
}

// read returns the fields of a response in the order of the protocol, lists of structs sorted by what they are about.
func read(k *known, resp kmsg.Response) []field {
	r := &reader{known: k, key: resp.Key()}
	r.structure("", reflect.ValueOf(resp).Elem())
	return r.fields
}

// The fields that are not compared: how long the broker throttles, and what no version of the protocol sends.
var skipped = map[string]bool{"Version": true, "ThrottleMillis": true, "UnknownTags": true}

func (r *reader) structure(at string, v reflect.Value) {
	fresh := reflect.New(v.Type())
	if d, ok := fresh.Interface().(interface{ Default() }); ok {
		d.Default()
	}
	fresh = fresh.Elem()
	var lists []int
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		f := v.Field(i)
		switch {
		case skipped[name]:
		case name == "RecordBatches" || name == "Records" && f.Type() == reflect.TypeFor[[]byte]():
			lists = append(lists, i)
		case f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.Struct, f.Kind() == reflect.Struct,
			f.Kind() == reflect.Pointer && f.Type().Elem().Kind() == reflect.Struct:
			lists = append(lists, i)
		case name == "ErrorMessage" && f.Kind() == reflect.Pointer && !f.IsNil() && f.Elem().Len() == 0: // says nothing
		case !reflect.DeepEqual(f.Interface(), fresh.Field(i).Interface()):
			r.fields = append(r.fields, field{at, name, r.scalar(name, f)})
		}
	}
	for _, i := range lists { // after the struct's own fields
		r.nested(at, v.Type().Field(i).Name, v.Field(i), fresh.Field(i))
	}
}

func (r *reader) nested(at, name string, v, fresh reflect.Value) {
	path := strings.TrimPrefix(at+"."+name, ".")
	switch v.Kind() {
	case reflect.Struct:
		r.structure(path, v)
	case reflect.Pointer:
		if !v.IsNil() {
			r.fields = append(r.fields, field{at, name, "there"})
			r.structure(path, v.Elem())
		}
	default:
		if b, ok := v.Interface().([]byte); ok {
			r.batches(path, at, name, b)
			return
		}
		if v.Len() == 0 && v.IsNil() != fresh.IsNil() {
			r.fields = append(r.fields, field{at, name, map[bool]string{true: "null", false: "[]"}[v.IsNil()]})
		}
		r.list(path, name, v)
	}
}

// ordered are the lists of structs whose order says something.
var ordered = map[string]bool{"ConfigSynonyms": true,
	"DescribeTopicPartitions.Topics": true, "DescribeTopicPartitions.Partitions": true, "ErrorRecords": true}

func (r *reader) list(path, name string, v reflect.Value) {
	type element struct {
		about string
		v     reflect.Value
	}
	var es []element
	for i := range v.Len() {
		es = append(es, element{r.about(v.Index(i), i), v.Index(i)})
	}
	if ordered[name] || ordered[kmsg.NameForKey(r.key)+"."+name] {
		for i := range es {
			es[i].about = fmt.Sprintf("%d:%s", i, es[i].about)
		}
	} else {
		slices.SortStableFunc(es, func(x, y element) int { return cmp.Compare(x.about, y.about) })
	}
	times := map[string]int{}
	for _, e := range es {
		if times[e.about]++; times[e.about] > 1 {
			e.about += "#" + strconv.Itoa(times[e.about])
		}
		before := len(r.fields)
		r.structure(path+"["+e.about+"]", e.v)
		if len(r.fields) == before { // all of it is default, but it is there
			r.fields = append(r.fields, field{path + "[" + e.about + "]", "-", "-"})
		}
	}
}

// identity are the fields that say what an element of a list is about; the first ones that a struct has all count.
var identity = [][]string{
	{"ResourceType", "ResourceName"}, {"Type", "Name"}, {"Topic", "TopicID"}, {"TopicID"}, {"Topic"}, {"Partition"}, {"ApiKey"}, {"Key"}, {"NodeID"}, {"ReplicaID"},
	{"Name"}, {"User"}, {"Dir"}, {"Group"}, {"MemberID"}, {"Feature"}, {"RelativeOffset"}, {"TransactionalID"}, {"ProducerID"},
}

// bracketed makes any name fit between the brackets of a path on one line.
var bracketed = strings.NewReplacer("\n", "\\n", "[", "(", "]", ")")

func (r *reader) about(v reflect.Value, index int) string {
	for _, names := range identity {
		var parts []string
		for _, n := range names {
			if f := v.FieldByName(n); f.IsValid() {
				parts = append(parts, r.scalar(n, f))
			}
		}
		if len(parts) != len(names) {
			continue
		}
		if names[0] == "Topic" && len(parts) == 2 { // a topic goes by its name where it has one
			if f := v.FieldByName("Topic"); f.Kind() == reflect.Pointer && !f.IsNil() || f.Kind() == reflect.String && f.Len() > 0 {
				parts = parts[:1]
			} else {
				parts = parts[1:]
			}
		}
		return bracketed.Replace(strings.Join(parts, " "))
	}
	return strconv.Itoa(index)
}

// scalar is the text of a value, with a word instead of what must differ.
func (r *reader) scalar(name string, v reflect.Value) string {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return "null"
		}
		v = v.Elem()
	}
	switch x := v.Interface().(type) {
	case [16]byte:
		return r.known.id(x)
	case int32, int64:
		return r.number(name, v.Int())
	case string:
		return r.text(name, x)
	case []byte:
		return strconv.Itoa(len(x)) + " bytes"
	}
	if v.Kind() == reflect.Slice {
		if v.IsNil() {
			return "null"
		}
		return strings.ReplaceAll(fmt.Sprint(v.Interface()), " ", ",")
	}
	return fmt.Sprint(v.Interface())
}

func (k *known) id(id [16]byte) string {
	switch name, ok := k.ids[id]; {
	case ok:
		return "id(" + name + ")"
	case id == [16]byte{}:
		return "id(0)"
	}
	return "id(?)"
}

// signs are numbers of which only the sign is compared, per request.
var signs = map[string]bool{
	"ApiVersions.FinalizedFeaturesEpoch": true, "InitProducerID.ProducerID": true, "EndTxn.ProducerID": true, "DescribeTransactions.ProducerID": true, "ListTransactions.ProducerID": true, "Fetch.SessionID": true,
	"DescribeLogDirs.TotalBytes": true, "DescribeLogDirs.UsableBytes": true, "DescribeQuorum.HighWatermark": true,
	"DescribeQuorum.LogEndOffset": true, "DescribeQuorum.LeaderEpoch": true, "DescribeQuorum.LastFetchTimestamp": true, "DescribeQuorum.LastCaughtUpTimestamp": true,
}

func (r *reader) number(name string, n int64) string {
	at := time.UnixMilli(n)
	switch {
	case name == "Port" && n == int64(r.known.port):
		return "<port>"
	case at.After(r.known.begun.Add(-time.Minute)) && at.Before(time.Now().Add(2*time.Hour)):
		return "<now>"
	case signs[kmsg.NameForKey(r.key)+"."+name]:
		return [...]string{"<negative>", "<zero>", "<positive>"}[cmp.Compare(n, 0)+1]
	}
	return strconv.FormatInt(n, 10)
}

func (r *reader) text(name, s string) string {
	switch {
	case name == "ErrorMessage" || name == "Documentation":
		return "<text>" // in each broker's own words
	case s == r.known.cluster && s != "":
		return "<cluster>"
	}
	if len(s) > 40 && strings.Trim(s, s[:1]) == "" {
		return fmt.Sprintf("%s*%d", s[:1], len(s))
	}
	if name, ok := r.known.names[s]; ok {
		return "<" + name + ">"
	}
	s = strings.ReplaceAll(s, r.known.dir, "<dir>")
	return strings.ReplaceAll(s, ":"+strconv.Itoa(int(r.known.port)), ":<port>")
}

// learn notes the ids of topics from an answer that has both.
func (k *known) learn(resp kmsg.Response) {
	note := func(id [16]byte, name string) {
		if _, ok := k.ids[id]; ok || id == [16]byte{} {
			return
		}
		for _, other := range k.ids {
			if other == name {
				name += "'" // another one of this name
			}
		}
		k.ids[id] = name
	}
	switch resp := resp.(type) {
	case *kmsg.CreateTopicsResponse:
		for _, t := range resp.Topics {
			note(t.TopicID, t.Topic)
		}
	case *kmsg.MetadataResponse:
		for _, t := range resp.Topics {
			if t.Topic != nil {
				note(t.TopicID, *t.Topic)
			}
		}
	}
}
