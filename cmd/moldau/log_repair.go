package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/node/offline"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// repaired is what `log repair -o json` prints.
type repaired struct {
	*offline.Repair
	Applied bool `json:"applied"`
}

func newLogRepair(c *cli) *cobra.Command {
	var cut, leaveOut, apply bool
	cmd := &cobra.Command{
		Use:   "repair DIR",
		Short: "Mend what verify finds; shows what it would do until --apply",
		Long: `Mend what verify finds. Without --apply it says what it would do, and changes nothing.

Files that can be built anew from the batches, such as indexes, are built anew. Where records cannot be read
there is a choice, which is yours:

  --cut        the log ends before the damage; what is behind is lost, and its offsets are given out again
  --leave-out  what is damaged is taken out, and what is behind it is kept; consumers pass over the offsets

Whatever is taken out stays beside the log in files that end with .aside.`,
		Example: `  moldau log repair moldau-data
  moldau log repair moldau-data/orders-0 --leave-out
  moldau log repair moldau-data/orders-0 --leave-out --apply`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			var choice commitlog.Choice
			switch {
			case cut && leaveOut:
				return usagef("--cut and --leave-out exclude each other")
			case cut:
				choice = commitlog.Cut
			case leaveOut:
				choice = commitlog.LeaveOut
			}
			var fsys env.FS = env.ReadOnlyOS{}
			if apply {
				fsys = env.OS{}
			}
			place, err := find(fsys, args[0])
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, place.Close()) }()
			report, err := c.verify(cmd.Context(), place)
			if err != nil {
				return err
			}
			plan, err := place.Plan(report, choice)
			if err == nil && apply {
				err = plan.Do()
			}
			if err != nil {
				return err
			}
			if err := c.print(repaired{plan, apply}, func(w io.Writer) { writeRepair(w, plan, apply) }); err != nil {
				return err
			}
			if len(plan.Undecided) > 0 || len(plan.Left) > 0 {
				return errUnsound
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&cut, "cut", false, "where records cannot be read, end the log there")
	cmd.Flags().BoolVar(&leaveOut, "leave-out", false, "where records cannot be read, take them out and keep what is behind")
	cmd.Flags().BoolVar(&apply, "apply", false, "do it; without this nothing is changed")
	return cmd
}

func writeRepair(w io.Writer, r *offline.Repair, applied bool) {
	for _, l := range r.Logs {
		fmt.Fprintln(w, l.Dir)
		for _, s := range l.Steps {
			fmt.Fprintf(w, "  %s\n", s)
		}
	}
	for _, f := range r.Undecided {
		fmt.Fprintf(w, "%s\n  %s\n  offsets %d to %d: choose --cut or --leave-out\n", f.File, f.What, f.Offset, f.Next-1)
	}
	for _, f := range r.Left {
		fmt.Fprintf(w, "%s\n  %s\n  %s\n", f.File, f.What, offline.Advice(f.Kind, ""))
	}
	switch {
	case len(r.Logs) == 0 && len(r.Undecided) == 0 && len(r.Left) == 0:
		fmt.Fprintln(w, "there is nothing to mend")
	case len(r.Logs) == 0:
	case applied:
		fmt.Fprintf(w, "done; %s given up\n", offsetsWere(r.Lost))
	default:
		fmt.Fprintf(w, "nothing was changed; with --apply this is done, and %s given up\n", offsetsWere(r.Lost))
	}
}

// offsetsWere is how many offsets, with the verb.
func offsetsWere(n int64) string {
	switch n {
	case 0:
		return "no offset is"
	case 1:
		return "1 offset is"
	}
	return count(n) + " offsets are"
}
