package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/node/backup"
)

// newBackup takes, checks and brings back backups of a broker.
func newBackup(c *cli) *cobra.Command {
	return newGroup("backup", "Back up a running broker, and restore it",
		`  moldau backup create /mnt/backups
  moldau backup verify /mnt/backups
  moldau backup restore /mnt/backups --to /var/lib/moldau`,
		newBackupCreate(c), newBackupList(c), newBackupVerify(c), newBackupRestore(c))
}

// createdBackup is what `backup create` shows.
type createdBackup struct {
	ID         string           `json:"id"`
	ClusterID  string           `json:"cluster_id"`
	NodeID     int32            `json:"node_id"`
	Partitions int              `json:"partitions"`
	Bytes      int64            `json:"bytes"`
	Copied     int64            `json:"copied"`
	Shared     int64            `json:"shared"`
	Missing    []backup.Missing `json:"missing"`
}

func newBackupCreate(c *cli) *cobra.Command {
	var from []string
	var limit float64
	cmd := &cobra.Command{
		Use:   "create REPO",
		Short: "Take a backup of the broker on this machine",
		Long: `Take a backup of the broker on this machine into the directory REPO, while it runs.

The files are read beside the broker, which is asked once how far each partition is
acknowledged: each partition is taken up to there. Of what the backup before has too,
sealed segments are not copied again. Every backup is whole by itself: to delete one,
remove its directory. Of a broker that has stopped, name the directories with --from.`,
		Example: `  moldau backup create /mnt/backups
  moldau backup create /mnt/backups -b 127.0.0.1:19092 --limit 50
  moldau backup create /mnt/backups --from /var/lib/moldau -o json`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 0 {
				return usagef("--limit must be at least 0")
			}
			return c.createBackup(cmd, backup.Options{
				Env: env.Real(), Repo: args[0], From: from, BytesPerSecond: int64(limit * (1 << 20)),
			})
		},
	}
	cmd.Flags().StringSliceVar(&from, "from", nil, "log.dirs of the broker, with metadata.log.dir where that is another; default: the broker tells")
	cmd.Flags().Float64Var(&limit, "limit", 0, "copy at most so many MiB a second; 0: as fast as it goes")
	return cmd
}

func (c *cli) createBackup(cmd *cobra.Command, o backup.Options) error {
	asked := &asker{c: c}
	defer asked.close()
	o.Ask = asked.live
	if len(o.From) == 0 {
		var err error
		if o.From, err = asked.logDirs(cmd.Context()); err != nil {
			return err
		}
	}
	shown := c.everySecond()
	o.Progress = func(done, total int, bytes int64) {
		shown.show(func() string {
			return fmt.Sprintf("%d of %s, %s copied", done, plural(int64(total), "partition"), byteSize(float64(bytes)))
		})
	}
	made, err := backup.Create(cmd.Context(), o)
	shown.clear()
	if err != nil {
		return err
	}
	out := createdBackup{made.ID, made.ClusterID, made.NodeID, len(made.Partitions), made.Bytes(), made.Copied, made.Shared, made.Missing}
	err = c.print(out, func(w io.Writer) {
		fmt.Fprintf(w, "backup %s of node %d of cluster %s: %s, %s; %s copied, %s shared with the one before\n", out.ID, out.NodeID, out.ClusterID,
			plural(int64(out.Partitions), "partition"), byteSize(float64(out.Bytes)), byteSize(float64(out.Copied)), byteSize(float64(out.Shared)))
	})
	if len(out.Missing) > 0 {
		err = errors.Join(err, incomplete(out.ID, out.Missing))
	}
	return err
}

// incomplete tells of partitions that a backup has not.
func incomplete(id string, missing []backup.Missing) error {
	const shown = 10
	var list []string
	for _, m := range missing[:min(len(missing), shown)] {
		list = append(list, fmt.Sprintf("%s-%d: %s", m.Topic, m.Partition, m.Why))
	}
	if more := len(missing) - shown; more > 0 {
		list = append(list, fmt.Sprintf("and %d more", more))
	}
	return &failure{
		what: fmt.Sprintf("backup %s lacks %s:\n  %s", id, plural(int64(len(missing)), "partition"), strings.Join(list, "\n  ")),
		try:  "mend what is wrong with them (curl -s localhost:9644/healthz) and take another; the rest of this one is good",
		err:  backup.ErrIncomplete,
	}
}

// listedBackup is a line of `backup list`.
type listedBackup struct {
	ID         string    `json:"id"`
	Created    time.Time `json:"created"`
	ClusterID  string    `json:"cluster_id"`
	NodeID     int32     `json:"node_id"`
	Partitions int       `json:"partitions"`
	Missing    int       `json:"missing"`
	Bytes      int64     `json:"bytes"`
}

func newBackupList(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "list REPO",
		Short:   "List the backups in a directory",
		Example: "  moldau backup list /mnt/backups",
		Args:    takes(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			fsys := env.ReadOnlyOS{}
			ids, err := backup.List(fsys, args[0])
			if err != nil {
				return err
			}
			list := []listedBackup{}
			var broken []error
			for _, id := range ids {
				m, err := backup.ReadManifest(fsys, args[0], id)
				if err != nil {
					broken = append(broken, err)
					continue
				}
				list = append(list, listedBackup{id, time.UnixMilli(m.CreatedMs).UTC(), m.ClusterID, m.NodeID, len(m.Partitions), len(m.Missing), m.Bytes()})
			}
			err = c.print(list, func(w io.Writer) {
				var rows [][]string
				for _, b := range list {
					rows = append(rows, []string{b.ID, b.Created.Format(time.RFC3339), b.ClusterID, strconv.Itoa(int(b.NodeID)),
						strconv.Itoa(b.Partitions), strconv.Itoa(b.Missing), byteSize(float64(b.Bytes))})
				}
				table(w, []string{"BACKUP", "TAKEN", "CLUSTER", "NODE", "PARTITIONS", "MISSING", "BYTES"}, rows)
			})
			return errors.Join(append([]error{err}, broken...)...)
		},
	}
}

// verifiedBackup is what `backup verify` shows.
type verifiedBackup struct {
	ID       string           `json:"id"`
	Bytes    int64            `json:"bytes"`
	Problems []backup.Problem `json:"problems"`
	Missing  []backup.Missing `json:"missing"`
}

func newBackupVerify(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "verify REPO [BACKUP]",
		Short: "Read a whole backup and compare it with its checksums",
		Long: `Read every file of a backup, the newest one unless another is named, and compare it with
the checksums of the manifest. The exit code is 1 where something is not as it was.`,
		Example: `  moldau backup verify /mnt/backups
  moldau backup verify /mnt/backups 20261127T110000Z -o json`,
		Args: takes(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := backup.Newest(env.ReadOnlyOS{}, args[0], second(args))
			if err != nil {
				return err
			}
			shown := c.everySecond()
			problems, err := backup.Verify(cmd.Context(), env.ReadOnlyOS{}, args[0], m, shown.bytes)
			shown.clear()
			if err != nil {
				return err
			}
			err = c.print(verifiedBackup{m.ID, m.Bytes(), problems, m.Missing}, func(w io.Writer) {
				for _, p := range problems {
					fmt.Fprintf(w, "%s: %s\n", p.File, p.What)
				}
				fmt.Fprintf(w, "backup %s: %s read, %s\n", m.ID, byteSize(float64(m.Bytes())), plural(int64(len(problems)), "problem"))
			})
			if len(problems) > 0 {
				err = errors.Join(err, errUnsound)
			}
			if len(m.Missing) > 0 {
				err = errors.Join(err, incomplete(m.ID, m.Missing))
			}
			return err
		},
	}
}

func second(args []string) string {
	if len(args) > 1 {
		return args[1]
	}
	return ""
}

// restoredBackup is what `backup restore` shows.
type restoredBackup struct {
	ID         string           `json:"id"`
	To         string           `json:"to"`
	DryRun     bool             `json:"dry_run"`
	Partitions int              `json:"partitions"`
	Bytes      int64            `json:"bytes"`
	Missing    []backup.Missing `json:"missing"`
}

func newBackupRestore(c *cli) *cobra.Command {
	var o backup.RestoreOptions
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "restore REPO [BACKUP]",
		Short: "Make a log directory of a backup",
		Long: `Make the log directory --to of a backup, the newest one unless another is named. A broker
starts on it with the cluster id, the node id, the topics and every record that the
backup has. Leader epochs and producer ids go on from further up, so that clients which
saw more than the backup has notice.`,
		Example: `  moldau backup restore /mnt/backups --to /var/lib/moldau --dry-run
  moldau backup restore /mnt/backups 20261127T110000Z --to /var/lib/moldau`,
		Args: takes(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.To == "" {
				return usagef("--to is missing: the directory to be made, which is to be the log.dirs of 'moldau serve'")
			}
			m, err := backup.Newest(env.ReadOnlyOS{}, args[0], second(args))
			if err != nil {
				return err
			}
			o.Env, o.Logger, o.Repo = env.Real(), newLogger(c.stderr, "text", "warn"), args[0]
			o.Command = fmt.Sprintf("moldau backup restore %s %s --to %s", args[0], m.ID, o.To)
			return c.restoreBackup(cmd, m, o, dryRun)
		},
	}
	cmd.Flags().StringVar(&o.To, "to", "", "log directory to be made; it must be empty or absent")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print what would be done, and change nothing")
	cmd.Flags().BoolVar(&o.Incomplete, "incomplete", false, "go on although the backup lacks partitions; they are offline")
	return cmd
}

func (c *cli) restoreBackup(cmd *cobra.Command, m *backup.Manifest, o backup.RestoreOptions, dryRun bool) error {
	err := m.Check(o)
	if err == nil && !dryRun {
		shown := c.everySecond()
		o.Progress = shown.bytes
		err = m.Restore(cmd.Context(), o)
		shown.clear()
	}
	if errors.Is(err, backup.ErrIncomplete) {
		return &failure{what: err.Error(), try: "take another backup of the list, or go on without them with --incomplete", err: err}
	}
	if err != nil {
		return err
	}
	out := restoredBackup{m.ID, o.To, dryRun, len(m.Partitions), m.Bytes(), m.Missing}
	return c.print(out, func(w io.Writer) {
		what := fmt.Sprintf("backup %s of node %d of cluster %s, %s, %s", m.ID, m.NodeID, m.ClusterID,
			plural(int64(out.Partitions), "partition"), byteSize(float64(out.Bytes)))
		if dryRun {
			fmt.Fprintf(w, "would restore %s, to %s; nothing was changed\n", what, o.To)
			return
		}
		fmt.Fprintf(w, "restored %s, to %s\nstart it with: %s\n", what, o.To, startCommand(c.program, o.To, m.NodeID))
	})
}
