package main

import (
	"errors"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/node/offline"
)

// newLog is the commands that look at log directories from outside, and mend them.
func newLog(c *cli) *cobra.Command {
	cmd := newGroup("log", "Look at what is on the disk, check it, and mend it, while no broker runs on it",
		`  moldau log verify moldau-data
  moldau log dump moldau-data/orders-0 --records
  moldau log repair moldau-data --leave-out`,
		newLogDump(c), newLogVerify(c), newLogRepair(c))
	cmd.Long = `Look at what is on the disk, check it, and mend it, while no broker runs on it.

DIR is a log directory, the directory of one partition in it, or a copy of either. All three refuse
a directory that a broker holds; dump and verify change nothing, and read directories of Apache Kafka too.`
	return cmd
}

// find takes the place that path names.
func find(fsys env.FS, path string) (*offline.Place, error) {
	p, err := offline.Find(fsys, path, env.Real().BootID())
	switch {
	case errors.Is(err, env.ErrLocked):
		return nil, &failure{what: err.Error(), try: "stop the broker, or copy the directory and look at the copy", err: err}
	case errors.Is(err, fs.ErrNotExist):
		return nil, &failure{what: err.Error(), try: "the directory that log.dirs names; moldau-data where nothing was configured", err: err}
	}
	return p, err
}
