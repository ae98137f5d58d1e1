package commitlog

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/kit/env"
)

const metaName = "meta.properties"

// ownKey stands in the meta.properties of directories that Moldau has formatted, with the version of the format. Kafka
// and we write the same files, but not all of each other's, so neither may work on the other's directory.
const (
	ownKey     = "moldau.version"
	ownVersion = "1"
)

// Identity tells whose a log directory is.
type Identity struct {
	ClusterID   string
	NodeID      moldau.BrokerID
	DirectoryID moldau.DirectoryID
	Apache      bool // Apache Kafka formatted it
}

// ErrForeign is what OpenDirectory and Claim return of a directory that is not this broker's: Apache Kafka's, another cluster's or
// node's, that of a later version, or one of which nobody can tell.
var ErrForeign = errors.New("not a directory of this broker")

// ErrApache is the ErrForeign of a directory that Apache Kafka has formatted.
var ErrApache = fmt.Errorf("%w: it was formatted by Apache Kafka, and Moldau does not change it", ErrForeign)

func (id Identity) encode() []byte {
	return fmt.Appendf(nil, "#\nversion=1\ncluster.id=%s\nnode.id=%d\ndirectory.id=%v\n%s=%s\n",
		id.ClusterID, id.NodeID, id.DirectoryID, ownKey, ownVersion)
}

// readIdentity reads meta.properties, of Moldau or of Apache Kafka; without the file the directory is not formatted.
func readIdentity(fsys env.FS, dir string) (id Identity, formatted bool, err error) {
	b, err := env.ReadFile(fsys, filepath.Join(dir, metaName), 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return id, false, nil
	}
	if err == nil {
		id, err = parseIdentity(string(b))
	}
	if err != nil {
		return id, false, fmt.Errorf("read %s: %w", metaName, err)
	}
	return id, true, nil
}

func parseIdentity(text string) (id Identity, err error) {
	props := parseProperties(text)
	own, isOwn := props[ownKey]
	id.Apache = !isOwn && props["version"] == "1"
	switch {
	case props["version"] != "1":
		return id, fmt.Errorf("version is %q, want 1", props["version"])
	case isOwn && own != ownVersion:
		return id, fmt.Errorf("%w: %s is %q, and this program knows %s only: start the version that wrote it, or a later one", ErrForeign, ownKey, own, ownVersion)
	case props["cluster.id"] == "":
		return id, errors.New("cluster.id is missing")
	}
	node, err := strconv.ParseUint(props["node.id"], 10, 31)
	if err != nil {
		return id, fmt.Errorf("node.id is %q, want a number", props["node.id"])
	}
	id.ClusterID, id.NodeID = props["cluster.id"], moldau.BrokerID(node)
	if id.DirectoryID, err = moldau.ParseUUID(props["directory.id"]); err != nil {
		return id, fmt.Errorf("directory.id: %w", err)
	}
	return id, nil
}

// parseProperties reads the plain part of Java's properties format: lines of key=value, comments, no escapes but that of
// a colon or an equals sign, which Java writes.
func parseProperties(text string) map[string]string {
	unescape := strings.NewReplacer(`\:`, ":", `\=`, "=")
	props := make(map[string]string)
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		key, value, _ := strings.Cut(line, "=")
		props[strings.TrimSpace(key)] = unescape.Replace(strings.TrimSpace(value))
	}
	return props
}

// sortedPartitions returns the keys of m by topic and number.
func sortedPartitions[V any](m map[moldau.TopicPartition]V) []moldau.TopicPartition {
	return slices.SortedFunc(maps.Keys(m), func(a, b moldau.TopicPartition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
}
