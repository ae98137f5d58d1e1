// Package offline looks at log directories that no broker holds, and mends them: what the commands below moldau log do.
//
// It reads with the functions with which a broker reads, so that what it says is what a start would find.
package offline

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
)

// Names in a log directory that the tools know beside those of the commit log.
const (
	metadataDir  = "moldau-metadata"
	metaName     = "meta.properties"
	lockName     = ".lock"
	cleanName    = ".kafka_cleanshutdown"
	manifestName = "moldau.manifest"
	bootName     = "moldau.boot"
)

// Place is what a path names.
type Place struct {
	Path string
	// Root is the log directory that holds the path, the path itself or one above; empty where there is none, as for a copy of a
	// partition's directory.
	Root string
	// File says that the path is a file, Partition that it is the directory of one log.
	File, Partition bool

	fsys env.FS
	boot string
	lock io.Closer
}

// Find looks what stands at a path, and locks the log directory around it, so that no broker changes it meanwhile.
// boot is the life of the operating system (env.Env.BootID), by which a kill is told from a loss of power.
// Errors: env.ErrLocked while a broker holds it.
func Find(fsys env.FS, path, boot string) (*Place, error) {
	path = filepath.Clean(path)
	info, err := fsys.Stat(path)
	if err != nil {
		return nil, err
	}
	p := &Place{Path: path, File: !info.IsDir(), fsys: fsys, boot: boot}
	dir := path
	if p.File {
		dir = filepath.Dir(path)
	}
	for _, root := range []string{dir, filepath.Dir(dir)} {
		if p.Root == "" && isRoot(fsys, root) {
			p.Root = root
		}
	}
	p.Partition = !p.File && p.Root != path
	if p.Partition && p.Root == "" && !isLog(fsys, path) {
		return nil, fmt.Errorf("%s is neither a log directory (it has no %s) nor a partition's (it has no segments)", path, metaName)
	}
	if p.Root == "" {
		return p, nil
	}
	p.lock, err = fsys.Lock(filepath.Join(p.Root, lockName))
	switch {
	case errors.Is(err, env.ErrLocked):
		return nil, fmt.Errorf("log directory %s is in use: %w", p.Root, err)
	case err != nil && !errors.Is(err, fs.ErrNotExist): // a directory that no broker has opened has no lock
		return nil, fmt.Errorf("lock log directory %s: %w", p.Root, err)
	}
	return p, nil
}

// Close gives the lock back.
func (p *Place) Close() error {
	if p.lock == nil {
		return nil
	}
	return p.lock.Close()
}

// isRoot reports whether dir is a log directory.
func isRoot(fsys env.FS, dir string) bool {
	for _, name := range []string{metaName, manifestName, "recovery-point-offset-checkpoint"} {
		if _, err := fsys.Stat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}

// isLog reports whether dir holds segments, or what is left of a log without any.
func isLog(fsys env.FS, dir string) bool {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".log") || e.Name() == "partition.metadata" || e.Name() == "leader-epoch-checkpoint" {
			return true
		}
	}
	return false
}

// partitionOf is the partition whose directory dir is by its name; false for the metadata log and for copies under other names.
func partitionOf(dir string) (moldau.TopicPartition, bool) {
	tp, err := moldau.ParseTopicPartition(filepath.Base(dir))
	return tp, err == nil && filepath.Base(dir) != metadataDir
}
