package record

import (
	"fmt"

	"github.com/moldau/moldau"
)

// Refusal is the answer to a batch that is not accepted, in the terms of a Produce response.
type Refusal struct {
	Code    moldau.Code
	Message string        // for a person
	Records []RecordError // those that were wrong, by ascending index; none if the batch as a whole is
}

// RecordError tells what is wrong with one record (KIP-467).
type RecordError struct {
	Index   int32 // in the batch, from 0
	Message string
}

// String is code and message in one line.
func (r *Refusal) String() string { return fmt.Sprintf("%v: %s", r.Code, r.Message) }

func refuse(code moldau.Code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Message: fmt.Sprintf(format, args...)}
}
