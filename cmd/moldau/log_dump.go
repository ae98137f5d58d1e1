package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/node/offline"
)

func newLogDump(c *cli) *cobra.Command {
	var o offline.DumpOptions
	cmd := &cobra.Command{
		Use:   "dump DIR|FILE",
		Short: "Show batches, records, indexes, checkpoints and metadata in readable form",
		Long: `Show what files hold, in readable form: batches of segments and the records in them, indexes, producer
snapshots, leader epochs, checkpoints, the manifest, and the metadata log with its records decoded.

With -o json each line is one JSON object; that of a file comes before those of what it holds.`,
		Example: `  moldau log dump moldau-data/orders-0
  moldau log dump moldau-data/orders-0/00000000000000000000.log --records
  moldau log dump moldau-data/moldau-metadata -o json`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			place, err := find(env.ReadOnlyOS{}, args[0])
			if err != nil {
				return err
			}
			out := bufio.NewWriterSize(c.stdout, 1<<16)
			err = place.Dump(o, func(it offline.Item) error {
				err := cmd.Context().Err()
				if err == nil && c.output == "json" {
					err = writeItemJSON(out, it)
				} else if err == nil {
					err = writeItem(out, it)
				}
				if err != nil {
					return &offline.StopError{Err: err}
				}
				return nil
			})
			err = errors.Join(err, out.Flush(), place.Close())
			if errors.Is(err, context.Canceled) {
				return nil // the user has seen enough
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&o.Records, "records", false, "show each record with key, value and headers")
	cmd.Flags().BoolVar(&o.Keys, "keys", false, "show each record with its key")
	return cmd
}

// writeItem writes a line for a person.
func writeItem(w io.Writer, it offline.Item) error {
	var err error
	switch it := it.(type) {
	case offline.FileItem:
		_, err = fmt.Fprintf(w, "%s: %s, %s\n", it.File, it.Kind, plural(it.Bytes, "byte"))
	case offline.BatchItem:
		_, err = fmt.Fprintln(w, batchLine(it))
	case offline.RecordItem:
		_, err = fmt.Fprintln(w, recordLine(it))
	case offline.BadItem:
		_, err = fmt.Fprintln(w, badLine(it))
	case offline.RowItem:
		var line strings.Builder
		for i, f := range it.Fields {
			if i > 0 {
				line.WriteString("  ")
			}
			fmt.Fprintf(&line, "%s %v", f.Name, f.Value)
		}
		_, err = fmt.Fprintln(w, "  "+strings.ReplaceAll(line.String(), "\n", "\n  "))
	case offline.MetadataItem:
		var b []byte
		if b, err = json.Marshal(it.Record); err == nil {
			_, err = fmt.Fprintf(w, "    %s %s\n", it.Type, b)
		}
	}
	return err
}

func batchLine(b offline.BatchItem) string {
	line := fmt.Sprintf("  byte %d  offsets %d-%d  epoch %d  %s  %s  %s  %s", b.Byte, b.Base, b.Last, b.Epoch,
		plural(int64(b.Records), "record"), plural(int64(b.Bytes), "byte"), b.Codec, stamp(b.MaxTimestamp))
	if b.LogAppendTime {
		line += " (log append time)"
	}
	if b.ProducerID >= 0 {
		line += fmt.Sprintf("  producer %d epoch %d sequence %d", b.ProducerID, b.ProducerEpoch, b.BaseSequence)
	}
	for word, is := range map[string]bool{"  transactional": b.Transactional, "  control": b.Control} {
		if is {
			line += word
		}
	}
	return line
}

// stamp writes a timestamp, and a dash for none.
func stamp(t moldau.Timestamp) string {
	if t < 0 {
		return "-"
	}
	return time.UnixMilli(int64(t)).UTC().Format("2006-01-02T15:04:05.000Z07:00")
}

func recordLine(r offline.RecordItem) string {
	line := fmt.Sprintf("    offset %d  %s  key %s", r.Offset, stamp(r.Timestamp), quoted(r.Key))
	if r.Value != nil || r.Bytes < 0 {
		line += "  value " + quoted(r.Value)
	} else {
		line += "  value of " + plural(int64(r.Bytes), "byte")
	}
	for _, h := range r.Headers {
		line += fmt.Sprintf("  %s=%s", h.Key, quoted(&h.Value))
	}
	return line
}

// quoted writes bytes so that none can be mistaken; null for none.
func quoted(b *offline.Content) string {
	if b == nil || *b == nil {
		return "null"
	}
	return strconv.Quote(string(*b))
}

func badLine(b offline.BadItem) string {
	line := "  !!"
	if b.Byte >= 0 {
		line += fmt.Sprintf(" bytes %d to %d", b.Byte, b.End)
	}
	if b.Offset >= 0 {
		line += fmt.Sprintf(" from offset %d on", b.Offset)
	}
	return line + ": " + b.Damage
}

// writeItemJSON writes a line for a machine.
func writeItemJSON(w io.Writer, it offline.Item) error {
	var v any = it
	switch it := it.(type) {
	case offline.RowItem:
		return writeRow(w, it)
	case offline.RecordItem:
		v = recordJSON(it)
	}
	b, err := json.Marshal(v)
	if err == nil {
		_, err = w.Write(append(b, '\n'))
	}
	return err
}

func writeRow(w io.Writer, r offline.RowItem) error {
	var line bytes.Buffer
	for i, f := range r.Fields {
		name, err := json.Marshal(f.Name)
		if err != nil {
			return err
		}
		value, err := json.Marshal(f.Value)
		if err != nil {
			return err
		}
		line.WriteByte("{,"[min(i, 1)])
		line.Write(name)
		line.WriteByte(':')
		line.Write(value)
	}
	line.WriteString("}\n")
	_, err := w.Write(line.Bytes())
	return err
}

// dumpedRecord is a record as `log dump -o json` prints it. Bytes that are no text are in base64, under another name.
type dumpedRecord struct {
	offline.RecordItem
	Key     any            `json:"key,omitempty"`
	Value   any            `json:"value,omitempty"`
	Headers []dumpedHeader `json:"headers,omitempty"`
}

type dumpedHeader struct {
	Key   any `json:"key"`
	Value any `json:"value"`
}

func recordJSON(r offline.RecordItem) dumpedRecord {
	d := dumpedRecord{RecordItem: r, Key: readable(r.Key), Value: readable(r.Value)}
	for _, h := range r.Headers {
		d.Headers = append(d.Headers, dumpedHeader{readable(&h.Key), readable(&h.Value)})
	}
	return d
}

// readable is text as it is, and other bytes as an object with their base64.
func readable(b *offline.Content) any {
	switch {
	case b == nil || *b == nil:
		return nil
	case utf8.Valid(*b):
		return string(*b)
	}
	return map[string]string{"base64": base64.StdEncoding.EncodeToString(*b)}
}
