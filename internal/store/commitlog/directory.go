package commitlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/kit/plant"
)

// Names in a log directory, Kafka's.
const (
	lockName      = ".lock"
	cleanName     = ".kafka_cleanshutdown"
	deletedSuffix = "-delete" // of a partition's directory that is on its way out
)

// Checkpoint names a checkpoint file of a log directory.
type Checkpoint string

// The checkpoint files, with Kafka's names.
const (
	RecoveryPoints Checkpoint = "recovery-point-offset-checkpoint"
	HighWatermarks Checkpoint = "replication-offset-checkpoint"
	LogStarts      Checkpoint = "log-start-offset-checkpoint"
	FirstDirty     Checkpoint = "cleaner-offset-checkpoint"
	// CleanerPoints is where compaction stands in the logs that have been compacted.
	CleanerPoints Checkpoint = "cleaner-offset-checkpoint"
)

// Directory is one of log.dirs: the home of partitions' logs, locked by this process. Its methods are to be serialized
// by the caller.
type Directory struct {
	fsys      env.FS
	path      string
	lock      io.Closer
	identity  Identity
	formatted bool
	manifest  *manifest // nil until the directory has been claimed
	// manifestLost says that the directory had been formatted, and had no manifest when it was claimed.
	manifestLost bool
}

// OpenDirectory locks the log directory at path, creating it where it is absent, and reads whose it is.
// Errors: another process has it (env.ErrLocked), Apache Kafka formatted it (ErrApache), an import or a restore has not
// finished it, meta.properties is damaged; the message says what to do. A directory that is Apache's is not even locked.
func OpenDirectory(fsys env.FS, path string) (*Directory, error) {
	d, err := lockDirectory(fsys, path)
	if err != nil {
		return nil, err
	}
	if err := d.refuseUnfinished(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func lockDirectory(fsys env.FS, path string) (*Directory, error) {
	if id, _, _ := readIdentity(fsys, path); id.Apache { // what else is wrong with it is not ours to tell
		return nil, fmt.Errorf("log directory %s: %w: set log.dirs to a directory of Moldau's own, which "+
			"'moldau import %s --to DIR' makes of this one", path, ErrApache, path)
	}
	if _, err := fsys.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := fsys.MkdirAll(path); err != nil {
			return nil, fmt.Errorf("create log directory %s: %w", path, err)
		}
		if err := fsys.SyncDir(filepath.Dir(path)); err != nil {
			return nil, fmt.Errorf("create log directory %s: %w", path, err)
		}
	}
	lock, err := fsys.Lock(filepath.Join(path, lockName))
	if errors.Is(err, env.ErrLocked) {
		return nil, fmt.Errorf("log directory %s is in use: %w; stop the broker that runs on it, or set log.dirs to another directory", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("lock log directory %s: %w", path, err)
	}
	d := &Directory{fsys: fsys, path: path, lock: lock}
	d.identity, d.formatted, err = readIdentity(fsys, path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("log directory %s: %w", path, err), lock.Close())
	}
	return d, nil
}

// Inspect looks at the log directory at path, Moldau's or Apache Kafka's, whoever may be at work on it, and changes nothing.
// What it returns is for reading: Path, Identity, Stopped, ReadCheckpoint, Partitions, PartitionDir.
// Errors: there is no directory, or it is not formatted.
func Inspect(fsys env.FS, path string) (*Directory, error) {
	d := &Directory{fsys: fsys, path: path}
	var err error
	if d.identity, d.formatted, err = readIdentity(fsys, path); err != nil {
		return nil, fmt.Errorf("log directory %s: %w", path, err)
	}
	if !d.formatted {
		return nil, fmt.Errorf("%s is no log directory: it has no %s", path, metaName)
	}
	return d, nil
}

// Hold locks a directory that Inspect returned against whoever would work on it, until Close. One without a lock file has
// never been worked on, and stays without. Errors: env.ErrLocked.
func (d *Directory) Hold() (err error) {
	name := filepath.Join(d.path, lockName)
	if _, err := d.fsys.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if d.lock, err = d.fsys.Lock(name); err != nil {
		return fmt.Errorf("lock log directory %s: %w", d.path, err)
	}
	return nil
}

// ManifestLost reports whether the directory has been in use and had no manifest any more when it was claimed: what it says of
// partitions that are not there is worth nothing.
func (d *Directory) ManifestLost() bool { return d.manifestLost }

// Close gives the lock back. The files stay as they are: see WriteCleanMarker.
func (d *Directory) Close() error {
	var err error
	if d.manifest != nil {
		err = d.manifest.close()
	}
	if d.lock != nil {
		err = errors.Join(err, d.lock.Close())
	}
	return err
}

// Path is where the directory lies.
func (d *Directory) Path() string { return d.path }

// Identity tells whose directory this is; false where it has not been formatted.
func (d *Directory) Identity() (Identity, bool) { return d.identity, d.formatted }

// Claim makes the directory that of want, or checks that it is: cluster and node have to agree (L-43). A directory that
// has been formatted keeps its id, and want.DirectoryID is of no account. It comes before everything that concerns
// partitions.
func (d *Directory) Claim(want Identity) error {
	formatted := d.formatted
	if err := d.claim(want); err != nil {
		return err
	}
	_, err := d.fsys.Stat(filepath.Join(d.path, manifestName))
	d.manifestLost = formatted && errors.Is(err, fs.ErrNotExist)
	m, err := openManifest(d.fsys, d.path)
	if err != nil {
		return fmt.Errorf("log directory %s: %w", d.path, err)
	}
	d.manifest = m
	return nil
}

func (d *Directory) claim(want Identity) error {
	if !d.formatted {
		if err := d.empty(); err != nil {
			return err
		}
		if err := env.WriteFile(d.fsys, d.path, metaName, want.encode()); err != nil {
			return fmt.Errorf("format log directory %s: %w", d.path, err)
		}
		d.identity, d.formatted = want, true
		return nil
	}
	have := d.identity
	if have.ClusterID != want.ClusterID {
		return fmt.Errorf("%w: log directory %s belongs to cluster %s, not %s (cluster.id in %s): set log.dirs to a directory of this cluster",
			ErrForeign, d.path, have.ClusterID, want.ClusterID, metaName)
	}
	if have.NodeID != want.NodeID {
		return fmt.Errorf("%w: log directory %s belongs to node %d, not %d (node.id in %s): set node.id=%d, or log.dirs to another directory",
			ErrForeign, d.path, have.NodeID, want.NodeID, metaName, have.NodeID)
	}
	return nil
}

// empty returns an error where a directory without meta.properties holds what looks like logs: it has lost the file, and
// to format it anew would give the logs another identity.
func (d *Directory) empty() error {
	ps, err := d.Partitions()
	if err != nil {
		return err
	}
	if len(ps) > 0 {
		return fmt.Errorf("%w: log directory %s has %d partitions, such as %v, and no %s: the file was lost or the directory is another system's; "+
			"restore the file, or set log.dirs to an empty directory", ErrForeign, d.path, len(ps), ps[0].Partition, metaName)
	}
	return nil
}

// cleanMarker is the content of .kafka_cleanshutdown.
type cleanMarker struct {
	Version     int   `json:"version"`
	BrokerEpoch int64 `json:"brokerEpoch"`
}

// Stopped reports whether the last stop was clean, and leaves the marker that says so where it is.
func (d *Directory) Stopped() (clean bool, err error) {
	_, err = d.fsys.Stat(filepath.Join(d.path, cleanName))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// TakeCleanMarker reports whether the last stop was clean, and removes the marker that says so, durably. It comes before
// any log is opened: a crash during the load must find it gone (KAFKA-10471). The broker epoch is that of the last life,
// -1 where the marker does not tell.
func (d *Directory) TakeCleanMarker() (epoch moldau.BrokerEpoch, clean bool, err error) {
	path := filepath.Join(d.path, cleanName)
	b, err := env.ReadFile(d.fsys, path, 4096)
	if errors.Is(err, fs.ErrNotExist) {
		return -1, false, nil
	}
	if err != nil {
		return -1, false, fmt.Errorf("read %s: %w", path, err)
	}
	if plant.Has(plant.CleanMarkerKept) {
		return -1, true, nil
	}
	if err = d.fsys.Remove(path); err == nil {
		err = d.fsys.SyncDir(d.path)
	}
	if err != nil {
		return -1, false, fmt.Errorf("remove %s: %w", path, err)
	}
	m := cleanMarker{BrokerEpoch: -1}
	if err := json.Unmarshal(b, &m); err != nil || m.Version != 0 {
		return -1, false, nil // not a marker that we know: the logs are recovered, which is always right
	}
	return moldau.BrokerEpoch(m.BrokerEpoch), true, nil
}

// WriteCleanMarker says that every log of the directory has been closed without an error. It is the last write of a stop.
func (d *Directory) WriteCleanMarker(epoch moldau.BrokerEpoch) error {
	b, err := json.Marshal(cleanMarker{BrokerEpoch: int64(epoch)})
	if err == nil {
		err = env.WriteFile(d.fsys, d.path, cleanName, b)
	}
	if err != nil {
		return fmt.Errorf("write the clean-shutdown marker of %s: %w", d.path, err)
	}
	return nil
}

// ReadCheckpoint reads a checkpoint file; an absent one is empty, and one that cannot be read is an error that names it.
func (d *Directory) ReadCheckpoint(c Checkpoint) (map[moldau.TopicPartition]moldau.Offset, error) {
	m, err := ReadOffsets(d.fsys, d.path, c)
	if errors.Is(err, fs.ErrNotExist) || plant.Has(plant.UnreadableIsAbsent) {
		err = nil
	}
	return m, err
}

// ReadOffsets reads the checkpoint file c of the log directory dir; an absent one satisfies errors.Is(err, fs.ErrNotExist).
func ReadOffsets(fsys env.FS, dir string, c Checkpoint) (map[moldau.TopicPartition]moldau.Offset, error) {
	m := make(map[moldau.TopicPartition]moldau.Offset)
	err := readCheckpoint(fsys, dir, string(c), 3, func(f []string) error {
		tp, o, err := parseOffsetRow(f)
		m[tp] = o
		return err
	})
	return m, err
}

func parseOffsetRow(f []string) (moldau.TopicPartition, moldau.Offset, error) {
	partition, err := strconv.ParseUint(f[1], 10, 31)
	if err != nil || f[0] == "" {
		return moldau.TopicPartition{}, 0, fmt.Errorf("%q %q is not a partition", f[0], f[1])
	}
	o, err := strconv.ParseUint(f[2], 10, 63)
	if err != nil {
		return moldau.TopicPartition{}, 0, fmt.Errorf("%q is not an offset", f[2])
	}
	return moldau.TopicPartition{Topic: f[0], Partition: int32(partition)}, moldau.Offset(o), nil
}

// WriteCheckpoint replaces a checkpoint file; after a crash the old or the new one is there whole. An error that is Transient
// leaves the old one.
func (d *Directory) WriteCheckpoint(c Checkpoint, m map[moldau.TopicPartition]moldau.Offset) error {
	if err := WriteOffsets(d.fsys, d.path, c, m); err != nil {
		return undone(err, nothing)
	}
	return nil
}

// WriteOffsets replaces the checkpoint file c of the log directory dir.
func WriteOffsets(fsys env.FS, dir string, c Checkpoint, m map[moldau.TopicPartition]moldau.Offset) error {
	tps := sortedPartitions(m)
	return writeCheckpoint(fsys, dir, string(c), len(tps), func(b []byte, i int) []byte {
		b = append(b, tps[i].Topic...)
		b = strconv.AppendInt(append(b, ' '), int64(tps[i].Partition), 10)
		return strconv.AppendInt(append(b, ' '), int64(m[tps[i]]), 10)
	})
}

// PartitionDir is a directory of a partition's log.
type PartitionDir struct {
	Partition moldau.TopicPartition
	Dir       string
	TopicID   moldau.TopicID // zero where partition.metadata is absent
	Err       error          // partition.metadata cannot be read: the partition is offline
}

// Partitions lists the directories of partitions, by name. Others are left alone, and those on their way out are not
// listed.
func (d *Directory) Partitions() ([]PartitionDir, error) { return PartitionDirs(d.fsys, d.path) }

// PartitionDirs lists the directories of partitions in the log directory path, by name.
func PartitionDirs(fsys env.FS, path string) ([]PartitionDir, error) {
	entries, err := fsys.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("list log directory %s: %w", path, err)
	}
	var list []PartitionDir
	for _, e := range entries {
		tp, err := moldau.ParseTopicPartition(e.Name())
		if err != nil || !e.IsDir() || moldau.CheckTopicName(tp.Topic) != nil {
			continue
		}
		p := PartitionDir{Partition: tp, Dir: filepath.Join(path, tp.String())}
		if p.TopicID, err = readTopicID(fsys, p.Dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			p.Err = err
		}
		list = append(list, p)
	}
	return list, nil
}

// PartitionDir is where the log of tp lies or would lie.
func (d *Directory) PartitionDir(tp moldau.TopicPartition) string {
	return filepath.Join(d.path, tp.String())
}

// DeletePartition takes the directory of tp out of the log directory, durably, by giving it a name that says so and is
// not used twice, and strikes tp off the list; the log has been closed. The caller removes what is returned (FS.RemoveAll)
// after file.delete.delay.ms, also beside an error; an absent directory yields "". After ErrNoSpace it may be called again. L-52.
func (d *Directory) DeletePartition(tp moldau.TopicPartition, unique moldau.UUID) (string, error) {
	to := filepath.Join(d.path, deletedName(tp, unique))
	err := d.fsys.Rename(d.PartitionDir(tp), to)
	if errors.Is(err, fs.ErrNotExist) {
		return "", d.Strike(tp)
	}
	if err == nil {
		err = d.fsys.SyncDir(d.path)
	}
	if err != nil {
		return "", fmt.Errorf("delete partition %v: %w", tp, undone(err, nothing))
	}
	if err = d.Strike(tp); err != nil {
		err = fmt.Errorf("delete partition %v: %w", tp, err)
	}
	return to, err
}

// FileNameMax is the longest file name that common file systems take, in bytes.
const FileNameMax = 255

// deletedName is topic-partition.unique-delete; a long topic is cut.
func deletedName(tp moldau.TopicPartition, unique moldau.UUID) string {
	suffix := fmt.Sprintf("-%d.%x%s", tp.Partition, unique[:], deletedSuffix)
	return tp.Topic[:min(len(tp.Topic), FileNameMax-len(suffix))] + suffix
}

// PurgeDeleted removes the directories that earlier lives have left on their way out.
func (d *Directory) PurgeDeleted() error {
	entries, err := d.fsys.ReadDir(d.path)
	if err != nil {
		return fmt.Errorf("list log directory %s: %w", d.path, err)
	}
	for _, e := range entries {
		if !e.IsDir() || !isDeletedName(e.Name()) {
			continue
		}
		if err := d.fsys.RemoveAll(filepath.Join(d.path, e.Name())); err != nil {
			return fmt.Errorf("remove deleted partition: %w", err)
		}
	}
	return nil
}

// isDeletedName reports whether a directory bears a name that deletedName has made, and not one that only ends alike.
func isDeletedName(name string) bool {
	name, ok := strings.CutSuffix(name, deletedSuffix)
	dot := strings.LastIndexByte(name, '.')
	if !ok || dot < 0 || len(name)-dot-1 != 2*len(moldau.UUID{}) {
		return false
	}
	if strings.Trim(name[dot+1:], "0123456789abcdef") != "" {
		return false
	}
	_, err := moldau.ParseTopicPartition(name[:dot])
	return err == nil
}
