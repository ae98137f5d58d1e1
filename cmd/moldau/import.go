package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/node/importer"
)

// newImport makes a log directory of ours from one of Apache Kafka's.
func newImport(c *cli) *cobra.Command {
	var o importer.Options
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "import DIR...",
		Short: "Take over the data of a stopped Apache Kafka",
		Long: `Take over the log directories of a node of Apache Kafka 4.3 (KRaft) that has stopped: its
topics with their ids and configurations, and the partitions' logs with every offset,
leader epoch and producer. DIR is each of its log.dirs; the directory of --to is made.

The sources are read and never changed, and Kafka can be started on them again as if
nothing had happened. Records that are appended to the copy are not in the source:
docs/import.md tells how a partition goes back to Kafka. What this version cannot
hold (ACLs, SCRAM credentials, quotas, delegation tokens) is listed.`,
		Example: `  moldau import /var/lib/kafka --to /var/lib/moldau --dry-run
  moldau import /var/lib/kafka --to /var/lib/moldau
  moldau import /disk1/kafka /disk2/kafka --to /disk1/moldau --link`,
		Args: takes(1, many),
		RunE: func(cmd *cobra.Command, dirs []string) error {
			if o.To == "" {
				return usagef("--to is missing: the directory to be made, which is to be the log.dirs of 'moldau serve'")
			}
			o.Env, o.Logger = env.Real(), newLogger(c.stderr, "text", "warn")
			o.Command = "moldau import " + strings.Join(dirs, " ") + " --to " + o.To
			plan, err := importer.Look(o.Env.FS, dirs)
			if err != nil {
				return err
			}
			err = c.importPlan(cmd, plan, o, dryRun)
			return errors.Join(err, plan.Close())
		},
	}
	cmd.Flags().StringVar(&o.To, "to", "", "log directory to be made; it must be empty or absent")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print what would be done, and change nothing")
	cmd.Flags().BoolVar(&o.Link, "link", false,
		"give sealed segments a second name in place of a copy: quick and without more space, on one volume only")
	cmd.Flags().BoolVar(&o.Recover, "recover", false, "go on although Kafka was not stopped cleanly: the copy is recovered")
	cmd.Flags().BoolVar(&o.Partial, "partial", false, "go on although topics are left out that are not whole in DIR")
	return cmd
}

// imported is what the command prints as JSON: the plan, and what was done unless it was only looked at.
type imported struct {
	*importer.Plan
	DryRun bool             `json:"dry_run"`
	Report *importer.Report `json:"report,omitempty"`
}

func (c *cli) importPlan(cmd *cobra.Command, plan *importer.Plan, o importer.Options, dryRun bool) error {
	refused := importAdvice(plan.Check(o))
	if dryRun || refused != nil {
		err := c.print(imported{Plan: plan, DryRun: true}, func(w io.Writer) {
			writePlan(w, plan)
			fmt.Fprintf(w, "would bring %s, %s, to %s; nothing was changed\n", plural(int64(plan.Partitions), "partition"), byteSize(float64(plan.Bytes)), o.To)
		})
		return errors.Join(err, refused)
	}
	shown := c.everySecond()
	o.Progress = shown.bytes
	report, err := plan.Run(cmd.Context(), o)
	shown.clear()
	if err != nil {
		return &failure{what: err.Error(), try: "run it again: what is in " + o.To + " is marked as unfinished, and the source is as it was", err: err}
	}
	return c.print(imported{Plan: plan, Report: &report}, func(w io.Writer) {
		writePlan(w, plan)
		writeImported(w, report)
		fmt.Fprintln(w, "start it with:", startCommand(c.program, o.To, plan.NodeID))
	})
}

// importAdvice adds what to do to a refusal.
func importAdvice(err error) error {
	try := ""
	switch {
	case err == nil:
		return nil
	case errors.Is(err, importer.ErrUnclean):
		try = "start Kafka once more and stop it with kafka-server-stop.sh, or take what a crash has left with --recover"
	case errors.Is(err, importer.ErrPartial):
		try = "name all log directories of a node that has every partition in sync, or go on without them with --partial"
	}
	return &failure{what: err.Error(), try: try, err: err}
}

func writePlan(w io.Writer, p *importer.Plan) {
	for _, s := range p.Sources {
		how := "stopped cleanly"
		if !s.Clean {
			how = "NOT stopped cleanly"
		}
		fmt.Fprintf(w, "%s: node %d of cluster %s, %s\n", s.Path, p.NodeID, p.ClusterID, how)
	}
	var rows [][]string
	for _, t := range p.Topics {
		if t.LeftOut != "" {
			continue
		}
		var bytes int64
		for _, part := range t.Partitions {
			bytes += part.Bytes
		}
		rows = append(rows, []string{t.Name, strconv.Itoa(len(t.Partitions)), byteSize(float64(bytes)), pairs(t.Configs)})
	}
	table(w, []string{"TOPIC", "PARTITIONS", "BYTES", "CONFIGS"}, rows)
	for _, r := range p.Configs {
		fmt.Fprintf(w, "configs of %s: %s\n", r.Name, pairs(r.Set))
	}
	if len(p.LeftOut) > 0 {
		rows = nil
		for _, l := range p.LeftOut {
			rows = append(rows, []string{l.Kind, l.Name, l.Why})
		}
		table(w, []string{"LEFT OUT", "", "WHY"}, rows)
	}
	for _, warning := range p.Warnings {
		fmt.Fprintln(w, "note:", warning)
	}
}

func writeImported(w io.Writer, r importer.Report) {
	for _, line := range r.Recovered {
		fmt.Fprintln(w, "recovered:", line)
	}
	for _, line := range r.Damaged {
		fmt.Fprintln(w, "damaged:", line)
	}
	for _, line := range r.Open {
		fmt.Fprintln(w, "open transaction:", line, "(read_committed stops there until its time is up)")
	}
	fmt.Fprintf(w, "brought %s, %s, to %s\n", plural(int64(r.Partitions), "partition"), byteSize(float64(r.Bytes)), r.To)
}

// pairs writes settings as key=value, sorted.
func pairs(set map[string]string) string {
	if len(set) == 0 {
		return "-"
	}
	var all []string
	for _, k := range slices.Sorted(maps.Keys(set)) {
		all = append(all, k+"="+set[k])
	}
	return strings.Join(all, " ")
}

// startCommand is how a broker starts on a directory that was made for a node.
func startCommand(program, dir string, node int32) string {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	command := fmt.Sprintf("%s serve --set log.dirs=%s", program, dir)
	if node != 1 { // the default
		command += fmt.Sprintf(" --set node.id=%d", node)
	}
	return command
}
