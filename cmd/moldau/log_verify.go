package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/node/offline"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// errUnsound is what a command ends with that has found something and told it.
var errUnsound = errors.New("not all is as it should be")

func newLogVerify(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "verify DIR",
		Short: "Check every batch, and indexes, checkpoints and the manifest against what is there",
		Long: `Check every batch (CRC, offsets, leader epochs), the indexes against the batches, the checkpoints against the
logs, the manifest against the directories, and the metadata log. Nothing is changed.

The exit code is 0 where all is sound, 1 where something is found that a start would not set right in silence.`,
		Example: `  moldau log verify moldau-data
  moldau log verify moldau-data/orders-0 -o json`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			place, err := find(env.ReadOnlyOS{}, args[0])
			if err != nil {
				return err
			}
			report, err := c.verify(cmd.Context(), place)
			if err = errors.Join(err, place.Close()); err != nil {
				return err
			}
			if err := c.print(report, func(w io.Writer) { writeReport(w, report) }); err != nil {
				return err
			}
			if report.Worst() != offline.Harmless {
				return errUnsound
			}
			return nil
		},
	}
}

// verify reads all that is at the place, and shows how it comes along where that takes long.
func (c *cli) verify(ctx context.Context, place *offline.Place) (*offline.Report, error) {
	const every = time.Second
	line, last := newProgress(c.stderr), c.now()
	report, err := place.Verify(func(done, total int64) error {
		if now := c.now(); now.Sub(last) >= every {
			last = now
			line.show(fmt.Sprintf("%s of %s read", byteSize(float64(done)), byteSize(float64(total))))
		}
		return ctx.Err()
	})
	line.clear()
	return report, err
}

// writeReport tells what there is, then what is wrong: what, where, how bad, what to do.
func writeReport(w io.Writer, r *offline.Report) {
	var sum commitlog.LogReport
	for _, l := range r.Logs {
		sum.Segments += l.Segments
		sum.Batches += l.Batches
		sum.Records += l.Records
		sum.Bytes += l.Bytes
	}
	whose := ""
	if r.Apache {
		whose = ", formatted by Apache Kafka"
	}
	fmt.Fprintf(w, "%s: %s, %s, %s, %s in %s%s\n", r.Path, plural(int64(len(r.Logs)), "log"), plural(int64(sum.Segments), "segment"),
		byteSize(float64(sum.Bytes)), plural(sum.Records, "record"), batches(sum.Batches), whose)
	writeFindings(w, r.Findings, r.Path)
	for _, l := range r.Logs {
		if len(l.Findings) > 0 {
			fmt.Fprintf(w, "\n%s: offsets %d to %d\n", filepath.Base(l.Dir), l.Start, l.End)
			writeFindings(w, l.Findings, l.Dir)
		}
	}
	switch all := r.All(); {
	case len(all) == 0:
		fmt.Fprintln(w, "all is sound")
	case r.Worst() == offline.Harmless:
		fmt.Fprintln(w, "\nnothing is wrong that the next start does not set right")
	}
}

// batches writes a number of batches.
func batches(n int64) string {
	if n == 1 {
		return "1 batch"
	}
	return count(n) + " batches"
}

func writeFindings(w io.Writer, list []commitlog.Finding, dir string) {
	for _, f := range list {
		place := filepath.Base(f.File)
		if f.From >= 0 {
			place += fmt.Sprintf(" bytes %d to %d", f.From, f.To)
		}
		fmt.Fprintf(w, "  %-7s %s: %s\n", offline.GradeOf(f.Kind), place, f.What)
		if f.Next > f.Offset && f.Offset >= 0 {
			fmt.Fprintf(w, "          offsets %d to %d cannot be read\n", f.Offset, f.Next-1)
		}
		fmt.Fprintf(w, "          %s\n", offline.Advice(f.Kind, dir))
	}
}
