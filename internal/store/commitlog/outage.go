package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moldau/moldau/internal/kit/env"
)

// bootName is the file of a log directory that lists the lives of the operating system whose writes may not all be synced. It is
// there while a broker runs, and stays after it: a start that finds another life than its own knows that the page cache was lost.
const (
	bootName    = "moldau.boot"
	bootVersion = "version: 0"
	bootKey     = "boot: "
	unknownBoot = "unknown"
)

// BeginBoot notes that a broker begins to write in the life boot of the operating system, and returns how the last one ended. It
// comes before anything is written. trusted says that nothing unsynced is there: the directory is new, or the last stop was
// clean. The lives before stay on the list until SettleBoot, so that a crash in the midst of a recovery leaves them known.
func (d *Directory) BeginBoot(boot string, trusted bool) (Outage, error) {
	if boot == "" {
		boot = unknownBoot
	}
	before, err := d.readBoots()
	if err != nil {
		return Unknown, err
	}
	var after []string
	if !trusted {
		after = before
		if len(before) == 0 {
			after = []string{unknownBoot}
		}
	}
	outage := outageOf(after, boot)
	if !slices.Contains(after, boot) {
		after = append(slices.Clone(after), boot)
	}
	if slices.Equal(before, after) {
		return outage, nil
	}
	return outage, d.writeBoots(after)
}

// SettleBoot notes that every log which an earlier life has written has been recovered.
func (d *Directory) SettleBoot(boot string) error {
	if boot == "" {
		boot = unknownBoot
	}
	if before, err := d.readBoots(); err != nil || slices.Equal(before, []string{boot}) {
		return err
	}
	return d.writeBoots([]string{boot})
}

// outageOf tells what lies between the lives in which something was written and the present one.
func outageOf(lives []string, now string) Outage {
	switch {
	case slices.Contains(lives, unknownBoot) || now == unknownBoot:
		return Unknown
	case slices.ContainsFunc(lives, func(l string) bool { return l != now }):
		return Rebooted
	}
	return Killed
}

// readBoots reads the list; an absent file is empty, and what it cannot read is a life that is not known.
func (d *Directory) readBoots() ([]string, error) { return readBoots(d.fsys, d.path) }

func readBoots(fsys env.FS, dir string) ([]string, error) {
	b, err := env.ReadFile(fsys, filepath.Join(dir, bootName), 1<<16)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s of %s: %w", bootName, dir, err)
	}
	return parseBoots(string(b)), nil
}

// LastOutage tells how the last life of the log directory dir ended, where that was not clean, as a start in the life boot of the
// operating system would see it.
func LastOutage(fsys env.FS, dir, boot string) Outage {
	lives, err := readBoots(fsys, dir)
	if err != nil || len(lives) == 0 || boot == "" {
		return Unknown
	}
	return outageOf(lives, boot)
}

func parseBoots(text string) (lives []string) {
	version, rest, _ := strings.Cut(text, "\n")
	if version != bootVersion {
		return []string{unknownBoot}
	}
	for line := range strings.Lines(rest) {
		life, ok := strings.CutPrefix(strings.TrimSpace(line), bootKey)
		if !ok || life == "" {
			life = unknownBoot
		}
		lives = append(lives, life)
	}
	return lives
}

func (d *Directory) writeBoots(lives []string) error {
	text := bootVersion + "\n"
	for _, life := range lives {
		text += bootKey + life + "\n"
	}
	if err := env.WriteFile(d.fsys, d.path, bootName, []byte(text)); err != nil {
		return fmt.Errorf("write %s of %s: %w", bootName, d.path, err)
	}
	return nil
}
