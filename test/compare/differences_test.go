package compare

import (
	"regexp"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// difference is where Moldau means to answer differently. It covers as little as it can: fields of one key, in steps and
// with values that match. Empty expressions match everything; the others match as a whole.
type difference struct {
	key     kmsg.Key
	step    string // script: step
	field   string
	kafka   string
	ours    string
	because string
}

func (i difference) covers(d deviation) bool {
	return int16(i.key) == d.key && matches(i.step, d.step) && matches(i.field, d.path) && matches(i.kafka, d.kafka) && matches(i.ours, d.ours)
}

func matches(expression, s string) bool {
	return expression == "" || regexp.MustCompile("^(?s:"+expression+")$").MatchString(s)
}

// intended is the list of all of them. One that does not show any more fails the test.
var intended = []difference{}
