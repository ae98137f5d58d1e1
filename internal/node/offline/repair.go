package offline

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// Repair is a plan to mend what a report found.
type Repair struct {
	Logs []LogRepair `json:"logs"`
	// Lost is how many offsets are given up.
	Lost int64 `json:"lostOffsets"`
	// Undecided are findings for which a choice has to be made, Left those that the tools cannot mend.
	Undecided []commitlog.Finding `json:"undecided"`
	Left      []commitlog.Finding `json:"left"`

	place *Place
}

// LogRepair is the part of a plan that concerns one log.
type LogRepair struct {
	Dir   string   `json:"dir"`
	Steps []string `json:"steps"`

	plan *commitlog.Mending
}

// Plan says what would be done about the findings of a report. choice may be empty: then what loses no records is planned.
// Nothing is changed.
func (p *Place) Plan(report *Report, choice commitlog.Choice) (*Repair, error) {
	if report.Apache {
		return nil, fmt.Errorf("log directory %s was formatted by Apache Kafka, and Moldau does not change it", p.Root)
	}
	r := &Repair{place: p}
	for _, f := range report.Findings {
		if GradeOf(f.Kind) != Harmless {
			r.Left = append(r.Left, f)
		}
	}
	for _, l := range report.Logs {
		if filepath.Base(l.Dir) == metadataDir && choice == commitlog.LeaveOut {
			for _, f := range l.Findings {
				if f.Kind.Lost() {
					return nil, fmt.Errorf("the metadata log %s cannot do without an entry in its midst: bring the file back, or give up all behind the damage with --cut", l.Dir)
				}
			}
		}
		plan := commitlog.PlanMending(p.fsys, l, choice)
		for _, f := range l.Findings {
			switch {
			case f.Kind.Lost() && plan.Undecided:
				r.Undecided = append(r.Undecided, f)
			case f.Kind == commitlog.BadTopicID:
				p.planTopicID(plan, f, r)
			}
		}
		if len(plan.Steps) == 0 {
			continue
		}
		r.Lost += plan.Lost
		lr := LogRepair{Dir: l.Dir, plan: plan}
		for _, s := range plan.Steps {
			lr.Steps = append(lr.Steps, s.What)
		}
		r.Logs = append(r.Logs, lr)
	}
	return r, nil
}

// planTopicID plans to write partition.metadata anew from the manifest.
func (p *Place) planTopicID(plan *commitlog.Mending, f commitlog.Finding, r *Repair) {
	tp, _ := partitionOf(filepath.Dir(f.File))
	listed, _, err := commitlog.ReadManifest(p.fsys, p.Root)
	id, ok := listed[tp]
	if err != nil || !ok {
		r.Left = append(r.Left, f)
		return
	}
	plan.Add(fmt.Sprintf("write partition.metadata anew: topic id %v, as %s has it", id, manifestName), func() error {
		return commitlog.WriteTopicID(p.fsys, filepath.Dir(f.File), id)
	})
}

// Do carries the plan out: each log, and what the checkpoints have to say of it then. A crash in between leaves what can be
// verified and planned anew.
func (r *Repair) Do() error {
	if len(r.Logs) > 0 && r.place.Root != "" { // what was mended is to be looked at, not believed
		err := r.place.fsys.Remove(filepath.Join(r.place.Root, cleanName))
		if err == nil {
			err = r.place.fsys.SyncDir(r.place.Root)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, l := range r.Logs {
		if err := l.plan.Do(); err != nil {
			return fmt.Errorf("repair %s: %w", l.Dir, err)
		}
		tp, ok := partitionOf(l.Dir)
		if !ok || r.place.Root == "" {
			continue
		}
		for c, to := range map[commitlog.Checkpoint]*moldau.Offset{commitlog.RecoveryPoints: l.plan.RecoveryPoint, commitlog.LogStarts: l.plan.LogStart} {
			if to == nil {
				continue
			}
			if err := setOffset(r.place.fsys, r.place.Root, c, tp, *to); err != nil {
				return fmt.Errorf("repair %s: %w", l.Dir, err)
			}
		}
	}
	return nil
}

// setOffset changes one row of a checkpoint.
func setOffset(fsys env.FS, root string, c commitlog.Checkpoint, tp moldau.TopicPartition, to moldau.Offset) error {
	m, err := commitlog.ReadOffsets(fsys, root, c)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if at, ok := m[tp]; c == commitlog.RecoveryPoints && (!ok || at <= to) {
		return nil
	}
	m[tp] = to
	return commitlog.WriteOffsets(fsys, root, c, m)
}
