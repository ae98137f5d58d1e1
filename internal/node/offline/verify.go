package offline

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/node/quorum"
	"github.com/moldau/moldau/internal/proto/record"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// The kinds of findings about a log directory, beside those about one log.
const (
	BadIdentity   commitlog.Kind = "identity"       // meta.properties
	BadManifest   commitlog.Kind = "manifest"       // moldau.manifest
	BadCheckpoint commitlog.Kind = "checkpoint"     // of offsets
	LostPartition commitlog.Kind = "lost partition" // listed, and not there
	BadMetadata   commitlog.Kind = "metadata"       // a file or an entry of the metadata log
)

// Grade says how bad a finding is.
type Grade string

// The grades, from the worst.
const (
	Lost     Grade = "lost"    // records, or what nothing else tells, cannot be read
	Mendable Grade = "mend"    // a file that can be built anew from others
	Harmless Grade = "passing" // the next start deals with it
)

// GradeOf is how bad findings of a kind are.
func GradeOf(k commitlog.Kind) Grade {
	switch {
	case k.Lost(), k == LostPartition, k == BadMetadata, k == BadIdentity, k == BadManifest:
		return Lost
	case k.Harmless():
		return Harmless
	}
	return Mendable
}

// Report is what there is, and what is wrong with it.
type Report struct {
	Path string `json:"path"`
	// Apache says that Apache Kafka formatted the directory; Clean that the broker which had it last stopped cleanly.
	Apache   bool                  `json:"apache,omitempty"`
	Clean    bool                  `json:"clean"`
	Logs     []commitlog.LogReport `json:"logs"`
	Findings []commitlog.Finding   `json:"findings"` // about the directory; each log has its own
}

// All lists the findings about the directory and about its logs.
func (r *Report) All() []commitlog.Finding {
	all := append([]commitlog.Finding(nil), r.Findings...)
	for _, l := range r.Logs {
		all = append(all, l.Findings...)
	}
	return all
}

// Worst is the worst grade of all findings, Harmless where there are none.
func (r *Report) Worst() Grade {
	worst := Harmless
	for _, f := range r.All() {
		switch g := GradeOf(f.Kind); {
		case g == Lost:
			return Lost
		case g == Mendable:
			worst = Mendable
		}
	}
	return worst
}

// Progress is told how much of how much was read.
type Progress func(done, total int64) error

// Verify reads everything at the place and compares what belongs together. progress may be nil; its error ends the look.
func (p *Place) Verify(progress Progress) (*Report, error) {
	v := &verification{Place: p, report: &Report{Path: p.Path}, offsets: make(map[commitlog.Checkpoint]map[moldau.TopicPartition]moldau.Offset)}
	if p.File {
		return nil, fmt.Errorf("%s is a file: verify the directory of its partition, %s", p.Path, filepath.Dir(p.Path))
	}
	dirs, err := v.directories()
	if err != nil {
		return nil, err
	}
	if p.Root != "" {
		v.checkRoot(dirs)
	}
	v.follow(dirs, progress)
	for _, dir := range dirs {
		if err := v.log(dir); err != nil {
			return v.report, err
		}
	}
	return v.report, nil
}

type verification struct {
	*Place
	report  *Report
	offsets map[commitlog.Checkpoint]map[moldau.TopicPartition]moldau.Offset
	listed  map[moldau.TopicPartition]moldau.TopicID // by the manifest
	read    func(n int64) error
}

func (v *verification) add(kind commitlog.Kind, file, format string, args ...any) {
	v.report.Findings = append(v.report.Findings, commitlog.Finding{
		Kind: kind, File: file, From: -1, To: -1, Offset: -1, Next: -1, What: fmt.Sprintf(format, args...),
	})
}

// directories are the logs that are to be looked at, the metadata log first.
func (v *verification) directories() ([]string, error) {
	if v.Partition {
		return []string{v.Path}, nil
	}
	var dirs []string
	if _, err := v.fsys.Stat(filepath.Join(v.Root, metadataDir)); err == nil {
		dirs = append(dirs, filepath.Join(v.Root, metadataDir))
	}
	found, err := commitlog.PartitionDirs(v.fsys, v.Root)
	for _, f := range found {
		dirs = append(dirs, f.Dir)
	}
	return dirs, err
}

// follow makes read count the bytes of the segments in dirs.
func (v *verification) follow(dirs []string, progress Progress) {
	if progress == nil {
		return
	}
	var done, total int64
	for _, dir := range dirs {
		segments, _, err := commitlog.SegmentFiles(v.fsys, dir)
		if err != nil {
			continue // it is told when the directory's turn comes
		}
		for _, s := range segments {
			total += s.Size
		}
	}
	v.read = func(n int64) error {
		done += n
		return progress(done, total)
	}
}

// checkRoot looks at the files of the log directory.
func (v *verification) checkRoot(dirs []string) {
	props, err := commitlog.ReadProperties(v.fsys, v.Root)
	switch {
	case err != nil:
		v.add(BadIdentity, filepath.Join(v.Root, metaName), "%v", err)
	case props["moldau.version"] == "":
		v.report.Apache = true
	case props["cluster.id"] == "" || props["node.id"] == "" || props["directory.id"] == "":
		v.add(BadIdentity, filepath.Join(v.Root, metaName), "cluster.id, node.id or directory.id is missing")
	}
	_, err = v.fsys.Stat(filepath.Join(v.Root, cleanName))
	v.report.Clean = err == nil
	for _, c := range []commitlog.Checkpoint{commitlog.RecoveryPoints, commitlog.HighWatermarks, commitlog.LogStarts, commitlog.CleanerPoints} {
		m, err := v.readOffsets(v.Root, c)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			v.add(BadCheckpoint, filepath.Join(v.Root, string(c)), "%v", err)
			m = nil
		}
		v.offsets[c] = m
	}
	if v.report.Apache {
		return
	}
	path := filepath.Join(v.Root, manifestName)
	listed, _, err := commitlog.ReadManifest(v.fsys, v.Root)
	if err != nil {
		v.add(BadManifest, path, "%v", err)
		return
	}
	v.listed = listed
	if v.Partition {
		return
	}
	there := make(map[string]bool)
	for _, dir := range dirs {
		there[filepath.Base(dir)] = true
	}
	for tp, id := range listed {
		if !there[tp.String()] {
			v.add(LostPartition, filepath.Join(v.Root, tp.String()), "the manifest lists it (topic id %v), and its directory is gone", id)
		}
	}
}

// readOffsets reads a checkpoint. Apache Kafka begins one as an empty file; we never write such.
func (p *Place) readOffsets(dir string, c commitlog.Checkpoint) (map[moldau.TopicPartition]moldau.Offset, error) {
	if info, err := p.fsys.Stat(filepath.Join(dir, string(c))); err == nil && info.Size() == 0 {
		if props, err := commitlog.ReadProperties(p.fsys, dir); err == nil && props["moldau.version"] == "" {
			return nil, nil
		}
	}
	return commitlog.ReadOffsets(p.fsys, dir, c)
}

// log looks at one log.
func (v *verification) log(dir string) error {
	o := commitlog.VerifyOptions{FS: v.fsys, Dir: dir, Clean: v.report.Clean, Read: v.read}
	if v.Root != "" {
		o.Outage = commitlog.LastOutage(v.fsys, v.Root, v.boot)
	}
	if filepath.Base(dir) == metadataDir {
		o.DurableAt = quorum.DurableAt
	}
	tp, ok := partitionOf(dir)
	if ok && v.Root != "" {
		o.RecoveryPoint = v.offsets[commitlog.RecoveryPoints][tp]
		o.LogStart, o.LogStartKnown = v.offsets[commitlog.LogStarts][tp]
		_, o.Compacted = v.offsets[commitlog.CleanerPoints][tp]
	}
	report, err := commitlog.Verify(o)
	if err != nil {
		return err
	}
	if id, ok := v.listed[tp]; ok {
		if found, err := commitlog.ReadTopicID(v.fsys, dir); err == nil && found != id {
			report.Findings = append(report.Findings, commitlog.Finding{
				Kind: commitlog.BadTopicID, File: filepath.Join(dir, "partition.metadata"), From: -1, To: -1, Offset: -1, Next: -1,
				What: fmt.Sprintf("it names topic id %v, and %s lists the partition with topic id %v", found, manifestName, id),
			})
		}
	}
	if filepath.Base(dir) == metadataDir {
		if err := v.metadata(dir); err != nil {
			return err
		}
	}
	v.report.Logs = append(v.report.Logs, report)
	return nil
}

// metadata looks at what only the metadata log has: its entries and the files beside it.
func (v *verification) metadata(dir string) error {
	segments, others, err := commitlog.SegmentFiles(v.fsys, dir)
	if err != nil {
		return err
	}
	for _, name := range others {
		path := filepath.Join(dir, name)
		var err error
		switch {
		case quorum.IsStateFile(path):
			_, err = quorum.ViewState(v.fsys, path)
		case quorum.IsCheckpointFile(path):
			_, err = quorum.ViewCheckpoint(v.fsys, path)
		}
		if err != nil {
			v.add(BadMetadata, path, "%v", err)
		}
	}
	var in commitlog.Inspector
	for _, s := range segments {
		err := eachBatch(v.fsys, &in, s, func(pos int64, b record.Batch) error {
			if _, err := quorum.ViewEntry(b); err != nil {
				v.add(BadMetadata, s.Path, "byte %d: %v", pos, err)
			}
			return nil
		}, func(commitlog.Stretch) error { return nil }) // told as the log's
		if err != nil {
			return err
		}
	}
	return nil
}

// Advice is what to do about findings of a kind.
func Advice(k commitlog.Kind, dir string) string {
	switch {
	case strings.HasSuffix(dir, metadataDir) && k.Lost(), k == BadMetadata:
		return "bring the file back from a copy; moldau log repair --cut gives up what is behind"
	case k.Lost():
		return "bring the file back from a copy, or choose: moldau log repair --cut or --leave-out"
	case k == LostPartition:
		return "bring the directory back, or delete the topic"
	case k == BadIdentity:
		return "bring the file back from a copy; the log of the broker's starts names the cluster and the node"
	case k == BadManifest:
		return "bring the file back from a copy"
	case k == commitlog.BadTopicID:
		return "moldau log repair writes it anew from the manifest"
	case k == BadCheckpoint:
		return "remove the file: the next start then reads more of the logs"
	case k.Harmless():
		return "nothing: the next start deals with it"
	}
	return "moldau log repair builds it anew"
}
