package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
)

// A repository is a directory of backups, each a directory of its own that needs no other: what two have in common are names
// of one file. Drawn in docs/format/backup.md.
const (
	manifestName   = "manifest.json"
	manifestSum    = "manifest.sha256"
	recordsName    = "metadata.records"
	lockName       = ".lock"
	unfinishedName = ".unfinished"

	manifestMagic   = "moldau backup"
	manifestVersion = 1
	manifestMax     = 1 << 30 // bytes
)

// Manifest says what a backup holds. It is written last.
type Manifest struct {
	Magic     string `json:"magic"`
	Version   int    `json:"version"`
	ID        string `json:"id"` // the name of its directory
	CreatedMs int64  `json:"created_ms"`
	ClusterID string `json:"cluster_id"`
	NodeID    int32  `json:"node_id"`
	// Metadata is the state of the cluster after the entry before MetadataEnd, not older than the ends of the partitions.
	Metadata    File          `json:"metadata"`
	MetadataEnd moldau.Offset `json:"metadata_end"`
	Partitions  []Partition   `json:"partitions"`
	// Missing are partitions that the metadata has and the backup has not.
	Missing []Missing `json:"missing"`
}

// Partition is a log as it was up to End.
type Partition struct {
	Topic     string        `json:"topic"`
	Partition int32         `json:"partition"`
	TopicID   string        `json:"topic_id"`
	Start     moldau.Offset `json:"start"`
	End       moldau.Offset `json:"end"`
	Files     []File        `json:"files"`
}

// File is a file of a backup, by its name from the backup's directory.
type File struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
	// Source tells a sealed segment again at the next backup; nil for what may change.
	Source *Source `json:"source,omitempty"`
}

// Source is the file that was copied, as it was then.
type Source struct {
	Bytes      int64 `json:"bytes"`
	ModifiedNs int64 `json:"modified_ns"`
}

// Missing is a partition that is not in the backup.
type Missing struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	TopicID   string `json:"topic_id"`
	Why       string `json:"why"`
}

// name is that of the partition's directory.
func (p Partition) name() moldau.TopicPartition {
	return moldau.TopicPartition{Topic: p.Topic, Partition: p.Partition}
}

// Bytes is the size of all files.
func (m *Manifest) Bytes() int64 {
	n := m.Metadata.Bytes
	for _, p := range m.Partitions {
		for _, f := range p.Files {
			n += f.Bytes
		}
	}
	return n
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// write makes the manifest durable, with its checksum beside it in the form of sha256sum.
func (m *Manifest) write(fsys env.FS, dir string) error {
	b, err := json.MarshalIndent(m, "", " ")
	if err == nil {
		err = env.WriteFile(fsys, dir, manifestSum, fmt.Appendf(nil, "%s  %s\n", sum(b), manifestName))
	}
	if err == nil {
		err = env.WriteFile(fsys, dir, manifestName, b)
	}
	return err
}

// ReadManifest reads the manifest of the backup id in a repository.
func ReadManifest(fsys env.FS, repo, id string) (*Manifest, error) {
	dir := filepath.Join(repo, id)
	b, err := env.ReadFile(fsys, filepath.Join(dir, manifestName), manifestMax)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is no backup: it has no %s", dir, manifestName)
	}
	if err != nil {
		return nil, err
	}
	want, err := env.ReadFile(fsys, filepath.Join(dir, manifestSum), 1<<10)
	if err != nil {
		return nil, err
	}
	if got := sum(b); !bytes.HasPrefix(want, []byte(got)) {
		return nil, fmt.Errorf("%s is damaged: its SHA-256 is %s, and %s says %.64s", filepath.Join(dir, manifestName), got, manifestSum, want)
	}
	var m Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, manifestName), err)
	}
	if m.Magic != manifestMagic || m.Version != manifestVersion {
		return nil, fmt.Errorf("%s is of version %d of %q, and this program reads version %d of %q: use the one that wrote it, or a later one",
			filepath.Join(dir, manifestName), m.Version, m.Magic, manifestVersion, manifestMagic)
	}
	return &m, m.check()
}

// check refuses names that lead out of the backup, and partitions that are none.
func (m *Manifest) check() error {
	files := []File{m.Metadata}
	for _, p := range m.Partitions {
		if err := moldau.CheckTopicName(p.Topic); err != nil {
			return err
		}
		if _, err := moldau.ParseUUID(p.TopicID); err != nil {
			return err
		}
		for _, f := range p.Files {
			if filepath.Dir(f.Name) != p.name().String() {
				return fmt.Errorf("the manifest has the file %q for partition %v", f.Name, p.name())
			}
		}
		files = append(files, p.Files...)
	}
	for _, f := range files {
		if !filepath.IsLocal(f.Name) {
			return fmt.Errorf("the manifest has the file %q", f.Name)
		}
	}
	return nil
}

// List names the backups of a repository that are complete, oldest first.
func List(fsys env.FS, repo string) ([]string, error) {
	entries, err := fsys.ReadDir(repo)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, e := range entries {
		if !e.IsDir() || strings.HasSuffix(e.Name(), unfinishedName) {
			continue
		}
		if _, err := fsys.Stat(filepath.Join(repo, e.Name(), manifestName)); err == nil {
			ids = append(ids, e.Name())
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// Newest is the newest backup of a repository, or id where that is given.
func Newest(fsys env.FS, repo, id string) (*Manifest, error) {
	if id == "" {
		ids, err := List(fsys, repo)
		if err != nil {
			return nil, err
		}
		if len(ids) == 0 {
			return nil, fmt.Errorf("%s holds no backup that is complete", repo)
		}
		id = ids[len(ids)-1]
	}
	return ReadManifest(fsys, repo, id)
}
