package importer

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/proto/schema"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// Plan is what an import is going to do, for a person and for Run.
type Plan struct {
	Sources   []Source `json:"sources"`
	ClusterID string   `json:"cluster_id"`
	NodeID    int32    `json:"node_id"`
	// Clean says that Apache Kafka stopped cleanly on every source.
	Clean  bool    `json:"clean"`
	Topics []Topic `json:"topics"`
	// Configs is what is set on brokers and other resources that are no topics.
	Configs        []Resource `json:"configs"`
	NextProducerID int64      `json:"next_producer_id"`
	LeftOut        []LeftOut  `json:"left_out"`
	Warnings       []string   `json:"warnings"`
	Partitions     int        `json:"partitions"`
	Bytes          int64      `json:"bytes"`

	held []*commitlog.Directory
}

// Source is one log directory of Apache Kafka's.
type Source struct {
	Path  string `json:"path"`
	Clean bool   `json:"clean"`
}

// Topic is a topic and whether it comes along.
type Topic struct {
	Name     string `json:"name"`
	ID       string `json:"id"`
	Internal bool   `json:"internal"` // only coordinators write it
	// LeftOut is why the topic does not come along; empty where it does.
	LeftOut    string            `json:"left_out,omitempty"`
	Configs    map[string]string `json:"configs"`
	Partitions []Partition       `json:"partitions"`

	id moldau.TopicID
}

// Partition is one log of the source.
type Partition struct {
	Partition      int32  `json:"partition"`
	Directory      string `json:"directory"`
	Bytes          int64  `json:"bytes"`
	LeaderEpoch    int32  `json:"leader_epoch"`
	RecoveryPoint  int64  `json:"recovery_point"`
	HighWatermark  int64  `json:"high_watermark"`
	LogStart       int64  `json:"log_start"`
	partitionEpoch int32
	files          []string
	links          map[string]bool // those that are sealed, and never change again
}

// Resource is what is set on something that is no topic.
type Resource struct {
	Name string            `json:"name"`
	Set  map[string]string `json:"set"`

	resource metadata.Resource
}

// Look reads the log directories of a node of Apache Kafka's and makes the plan; it changes nothing. The directories are
// locked until Close, so that Kafka does not start on them meanwhile. Errors: Kafka runs on one of them (env.ErrLocked), they
// are not all of one node, or not Apache's, or the metadata is not among them or cannot be read.
func Look(fsys env.FS, paths []string) (p *Plan, err error) {
	p = &Plan{Clean: true, Topics: []Topic{}, Configs: []Resource{}, LeftOut: []LeftOut{}, Warnings: []string{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	metadataDir := ""
	for i, path := range paths {
		if slices.ContainsFunc(paths[:i], func(other string) bool { return filepath.Clean(other) == filepath.Clean(path) }) {
			return p, fmt.Errorf("%s is named twice", path)
		}
		d, err := p.hold(fsys, path)
		if err != nil {
			return p, err
		}
		if _, err := fsys.Stat(filepath.Join(d.Path(), apacheMetadata)); err == nil {
			metadataDir = filepath.Join(d.Path(), apacheMetadata)
		}
	}
	if metadataDir == "" {
		return p, fmt.Errorf("none of %s has the directory %s: name the directory of metadata.log.dir too", strings.Join(paths, ", "), apacheMetadata)
	}
	c, err := readCluster(fsys, metadataDir, p.Clean)
	if err != nil {
		return p, fmt.Errorf("read the metadata of Apache Kafka: %w", err)
	}
	shelf, err := readShelf(fsys, p.held)
	if err != nil {
		return p, err
	}
	return p, p.fill(fsys, c, shelf)
}

// hold inspects and locks one source.
func (p *Plan) hold(fsys env.FS, path string) (*commitlog.Directory, error) {
	d, err := commitlog.Inspect(fsys, path)
	if err != nil {
		return nil, err
	}
	id, _ := d.Identity()
	if !id.Apache {
		return nil, fmt.Errorf("%s is a directory of Moldau's own: start it with 'moldau serve --set log.dirs=%s'", path, path)
	}
	if len(p.held) == 0 {
		p.ClusterID, p.NodeID = id.ClusterID, int32(id.NodeID)
	}
	if id.ClusterID != p.ClusterID || int32(id.NodeID) != p.NodeID {
		return nil, fmt.Errorf("%s is of node %d of cluster %s, and %s of node %d of cluster %s: an import takes the directories of one node",
			p.held[0].Path(), p.NodeID, p.ClusterID, path, id.NodeID, id.ClusterID)
	}
	if err := d.Hold(); errors.Is(err, env.ErrLocked) {
		return nil, fmt.Errorf("a broker of Apache Kafka runs on %s: stop it first: %w", path, err)
	} else if err != nil {
		return nil, err
	}
	p.held = append(p.held, d)
	clean, err := d.Stopped()
	p.Sources = append(p.Sources, Source{path, clean})
	p.Clean = p.Clean && clean
	return d, err
}

// Close gives the locks of the sources back.
func (p *Plan) Close() error {
	var err error
	for _, d := range p.held {
		err = errors.Join(err, d.Close())
	}
	p.held = nil
	return err
}

// shelf is what stands in the sources.
type shelf struct {
	found map[moldau.TopicPartition]commitlog.PartitionDir
	marks map[commitlog.Checkpoint]map[moldau.TopicPartition]moldau.Offset
}

func readShelf(fsys env.FS, dirs []*commitlog.Directory) (shelf, error) {
	s := shelf{
		found: make(map[moldau.TopicPartition]commitlog.PartitionDir),
		marks: make(map[commitlog.Checkpoint]map[moldau.TopicPartition]moldau.Offset),
	}
	for _, d := range dirs { // all before their checkpoints
		parts, err := d.Partitions()
		if err != nil {
			return s, err
		}
		for _, found := range parts {
			if found.Partition.Topic == moldau.MetadataTopic {
				continue
			}
			if other, ok := s.found[found.Partition]; ok {
				return s, fmt.Errorf("partition %v is in %s and in %s: remove the one that is not in use", found.Partition, other.Dir, found.Dir)
			}
			s.found[found.Partition] = found
		}
	}
	for _, d := range dirs {
		for _, kind := range [...]commitlog.Checkpoint{commitlog.RecoveryPoints, commitlog.HighWatermarks, commitlog.LogStarts} {
			offsets, err := readCheckpoint(fsys, d, kind)
			if err != nil {
				return s, err
			}
			if s.marks[kind] == nil {
				s.marks[kind] = make(map[moldau.TopicPartition]moldau.Offset)
			}
			for tp, o := range offsets { // of a partition that was moved to another directory the one that it left may tell too
				if found, ok := s.found[tp]; ok && filepath.Dir(found.Dir) == filepath.Clean(d.Path()) {
					s.marks[kind][tp] = o
				}
			}
		}
	}
	return s, nil
}

// readCheckpoint takes a file of no bytes for a checkpoint of nothing: Apache Kafka makes its checkpoints so when it first starts, and
// a kill may leave one at that. In a directory of ours it would be damage.
func readCheckpoint(fsys env.FS, d *commitlog.Directory, c commitlog.Checkpoint) (map[moldau.TopicPartition]moldau.Offset, error) {
	if info, err := fsys.Stat(filepath.Join(d.Path(), string(c))); err == nil && info.Size() == 0 {
		return nil, nil
	}
	return d.ReadCheckpoint(c)
}

// fill makes the plan out of what was read.
func (p *Plan) fill(fsys env.FS, c *cluster, s shelf) error {
	p.NextProducerID = int64(c.image.NextProducerID())
	for t := range c.image.Topics() {
		topic, err := p.topic(fsys, c, t, s)
		if err != nil {
			return err
		}
		p.Topics = append(p.Topics, topic)
		if topic.LeftOut != "" {
			p.LeftOut = append(p.LeftOut, LeftOut{"topic", topic.Name, topic.LeftOut})
			continue
		}
		for _, part := range topic.Partitions {
			p.Partitions++
			p.Bytes += part.Bytes
		}
	}
	for _, kind := range [...]schema.ResourceType{schema.BrokerResource, schema.ClientMetricsResource, schema.GroupResource} {
		for r := range c.image.Resources(kind) {
			taken, left := c.configs(r)
			p.LeftOut = append(p.LeftOut, left...)
			if len(taken) > 0 {
				p.Configs = append(p.Configs, Resource{resourceName(r), taken, r})
			}
		}
	}
	p.LeftOut = append(p.LeftOut, s.strays(c)...)
	p.LeftOut = append(p.LeftOut, c.leftOut()...)
	p.warn(c)
	return nil
}

// strays lists the partitions on the shelf that the metadata does not know.
func (s shelf) strays(c *cluster) (list []LeftOut) {
	for tp, found := range s.found {
		t := c.image.Topic(tp.Topic)
		if t != nil && int(tp.Partition) < len(t.Partitions) && found.Err == nil && (found.TopicID == t.ID || found.TopicID.IsZero()) {
			continue
		}
		list = append(list, LeftOut{"directory", found.Dir, unclaimed(found, t)})
	}
	slices.SortFunc(list, func(a, b LeftOut) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// warn tells what a person has to know before the import, beside what is left out.
func (p *Plan) warn(c *cluster) {
	say := func(format string, args ...any) { p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...)) }
	say("the file server.properties of Apache Kafka is not in its log directories: start with --config and a copy of it. " +
		"Topics without a retention of their own follow the broker's, which is 7 days where nothing is set")
	if !p.Clean {
		say("Apache Kafka was not stopped cleanly: logs are recovered, as after a crash of the broker")
	}
	if c.torn {
		say("the metadata log ended in a write that was not finished; it was not acknowledged")
	}
	if c.voters != 1 {
		say("the metadata is of a quorum of %s: the last changes before the stop may not have been committed", votersIn(c.voters))
	}
	if len(c.brokers) > 1 {
		say("the cluster had %d brokers and the target is one: each partition has one replica there", len(c.brokers))
	}
	for _, t := range p.Topics {
		if n := t.Configs["min.insync.replicas"]; t.LeftOut == "" && n != "" && n != "1" {
			say("topic %s has min.insync.replicas=%s: one broker takes no acks=all until that is 1 "+
				"('moldau config set topic %s min.insync.replicas=1')", t.Name, n, t.Name)
		}
		if t.Internal && t.Name != moldau.OffsetsTopic && t.LeftOut == "" {
			say("the internal topic %s comes along as it is; this version has no coordinator that reads it", t.Name)
		}
	}
}

func votersIn(n int) string {
	if n == 0 {
		return "an unknown number of voters"
	}
	return fmt.Sprintf("%d voters", n)
}

// topic looks at one topic: it comes along if all of its partitions can.
func (p *Plan) topic(fsys env.FS, c *cluster, t *metadata.Topic, s shelf) (Topic, error) {
	topic := Topic{Name: t.Name, ID: t.ID.String(), Internal: moldau.IsInternalTopic(t.Name), Partitions: []Partition{}, id: t.ID}
	var left []LeftOut
	topic.Configs, left = c.configs(metadata.Resource{Type: schema.TopicResource, Name: t.Name})
	p.LeftOut = append(p.LeftOut, left...)
	node := moldau.BrokerID(p.NodeID)
	for i, reg := range t.Partitions {
		tp := moldau.TopicPartition{Topic: t.Name, Partition: int32(i)}
		if why := lacks(reg, node, tp, t.ID, s); why != "" {
			topic.LeftOut = why
			return topic, nil
		}
		part, err := s.partition(fsys, tp, p.Clean)
		if err != nil {
			return topic, fmt.Errorf("look at %s: %w", s.found[tp].Dir, err)
		}
		part.LeaderEpoch, part.partitionEpoch = int32(reg.LeaderEpoch), reg.PartitionEpoch
		topic.Partitions = append(topic.Partitions, part)
	}
	return topic, nil
}

// lacks is why a partition cannot be taken from here, or "".
func lacks(reg *metadata.Partition, node moldau.BrokerID, tp moldau.TopicPartition, id moldau.TopicID, s shelf) string {
	found, ok := s.found[tp]
	switch {
	case !reg.Has(node):
		return fmt.Sprintf("partition %d is on the brokers %v and not on %d", tp.Partition, reg.Replicas, node)
	case !complete(reg, node):
		return fmt.Sprintf("the replica of partition %d on broker %d was not in sync (those in sync: %v)", tp.Partition, node, reg.ISR)
	case !ok:
		return fmt.Sprintf("partition %d has no directory here; name all of log.dirs", tp.Partition)
	case found.Err != nil:
		return fmt.Sprintf("partition %d: %v", tp.Partition, found.Err)
	case found.TopicID != id && !found.TopicID.IsZero():
		return fmt.Sprintf("%s is of topic id %v", found.Dir, found.TopicID)
	}
	return ""
}

// complete reports whether the replica on node has all that was committed: it is in sync, or left the set when it stopped
// (KIP-966 keeps it as an eligible leader then), or there is no other that could have more.
func complete(reg *metadata.Partition, node moldau.BrokerID) bool {
	return slices.Contains(reg.ISR, node) || slices.Contains(reg.Exceptional().ELR, node) || len(reg.Replicas) == 1
}

// partition lists the files of a log that an import takes. Those of a replacement that was under way come along where the
// stop was not clean: opening the log finishes it, as Apache's start would.
func (s shelf) partition(fsys env.FS, tp moldau.TopicPartition, clean bool) (Partition, error) {
	dir := s.found[tp].Dir
	p := Partition{
		Partition: tp.Partition, Directory: dir, links: make(map[string]bool),
		RecoveryPoint: int64(s.marks[commitlog.RecoveryPoints][tp]),
		HighWatermark: int64(s.marks[commitlog.HighWatermarks][tp]),
		LogStart:      int64(s.marks[commitlog.LogStarts][tp]),
	}
	files, err := commitlog.LogFiles(fsys, dir)
	if err != nil {
		return p, err
	}
	active, empty := activeAndEmpty(files)
	for _, f := range files {
		if empty[f.Base] && f.Ext != commitlog.SnapshotExt {
			continue
		}
		p.files = append(p.files, f.Name)
		p.Bytes += f.Info.Size()
		p.links[f.Name] = f.Ext == commitlog.SegmentExt && f.Base != active
	}
	for _, name := range [...]string{commitlog.EpochsName, commitlog.TopicIDName} {
		if _, err := fsys.Stat(filepath.Join(dir, name)); err == nil {
			p.files = append(p.files, name)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return p, err
		}
	}
	if clean {
		return p, nil
	}
	swaps, err := unfinishedSwaps(fsys, dir)
	p.files = append(p.files, swaps...)
	return p, err
}

// activeAndEmpty finds the active segment, which is appended to, and those before it that are empty: Apache's cleaner leaves
// such behind, and they tell nothing.
func activeAndEmpty(files []commitlog.LogFile) (active moldau.Offset, empty map[moldau.Offset]bool) {
	empty = make(map[moldau.Offset]bool)
	for _, f := range files {
		if f.Ext == commitlog.SegmentExt {
			active = f.Base
			empty[f.Base] = f.Info.Size() == 0
		}
	}
	empty[active] = false
	return active, empty
}

// unfinishedSwaps lists the .swap files of a log. Beside a file that is still being written (.cleaned) they are one half of
// a segment that was split in two, and the segment is still there.
func unfinishedSwaps(fsys env.FS, dir string) (names []string, err error) {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		switch filepath.Ext(e.Name()) {
		case ".cleaned":
			return nil, nil
		case ".swap":
			names = append(names, e.Name())
		}
	}
	return names, nil
}
