package importer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/kit/env"
	"github.com/moldau/moldau/internal/proto/record"
	"github.com/moldau/moldau/internal/proto/schema"
	"github.com/moldau/moldau/internal/store/commitlog"
)

// Names in a log directory of Apache Kafka's.
const (
	apacheMetadata   = moldau.MetadataTopic + "-0"
	checkpointSuffix = ".checkpoint"
	quorumState      = "quorum-state"
)

// recordsBytesMax bounds what the records of one batch of metadata may take.
const recordsBytesMax = 256 << 20

// cluster is what the metadata log of Apache Kafka's controllers amounts to.
type cluster struct {
	image   *metadata.Image
	brokers map[moldau.BrokerID]bool // registered
	end     moldau.Offset            // behind the last record
	batch   []schema.Record          // read and not yet in the image
	voters  int                      // of the controllers' quorum; 0: unknown
	torn    bool                     // the log ended in a write that was not finished

	// What an Image has no place for, each by what identifies it.
	access  map[moldau.UUID]*schema.AccessControl
	scram   map[schema.RemoveScramCredential]bool
	tokens  map[string]*schema.DelegationToken
	quotas  map[string]bool
	pending []schema.Record // of a transaction that has begun; nil: none has
}

func newCluster() *cluster {
	return &cluster{
		image: metadata.Empty(), brokers: make(map[moldau.BrokerID]bool),
		access: make(map[moldau.UUID]*schema.AccessControl), scram: make(map[schema.RemoveScramCredential]bool),
		tokens: make(map[string]*schema.DelegationToken), quotas: make(map[string]bool),
	}
}

// readCluster reads the metadata in dir, a directory named __cluster_metadata-0: the newest snapshot and the log behind it.
// A torn end of the log is passed over where the stop was not clean; anything else that cannot be read is an error.
func readCluster(fsys env.FS, dir string, clean bool) (*cluster, error) {
	c := newCluster()
	if err := c.readVoters(fsys, dir); err != nil {
		return nil, err
	}
	snapshot, end, err := newestSnapshot(fsys, dir)
	if err != nil {
		return nil, err
	}
	if snapshot != "" {
		if err := c.readFile(fsys, filepath.Join(dir, snapshot), 0); err != nil {
			return nil, err
		}
		c.end = end
	}
	return c, c.readLog(fsys, dir, clean)
}

// newestSnapshot finds the snapshot with the highest end: <end, 20 digits>-<epoch, 10 digits>.checkpoint.
func newestSnapshot(fsys env.FS, dir string) (name string, end moldau.Offset, err error) {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return "", 0, err
	}
	end = -1
	for _, e := range entries {
		stem, ok := strings.CutSuffix(e.Name(), checkpointSuffix)
		if !ok || len(stem) != 31 || stem[20] != '-' {
			continue
		}
		at, err := strconv.ParseInt(stem[:20], 10, 64)
		if err == nil && moldau.Offset(at) > end {
			name, end = e.Name(), moldau.Offset(at)
		}
	}
	return name, end, nil
}

// readLog applies the records of the log from c.end on.
func (c *cluster) readLog(fsys env.FS, dir string, clean bool) error {
	files, err := commitlog.LogFiles(fsys, dir)
	if err != nil {
		return err
	}
	var segments []commitlog.LogFile
	for _, f := range files {
		if f.Ext == commitlog.SegmentExt {
			segments = append(segments, f)
		}
	}
	if len(segments) == 0 && c.end == 0 {
		return fmt.Errorf("%s has neither a snapshot nor a log", dir)
	}
	for i, f := range segments {
		last := i == len(segments)-1
		if !last && segments[i+1].Base <= c.end {
			continue // the snapshot has it all
		}
		if f.Base > c.end {
			return fmt.Errorf("%s begins at offset %d, and what comes before ends at %d: a snapshot or a segment is missing", f.Name, f.Base, c.end)
		}
		err := c.readFile(fsys, filepath.Join(dir, f.Name), c.end)
		if errors.Is(err, commitlog.ErrTorn) && last && !clean {
			c.torn = true
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readFile applies the records of a file of batches from an offset on.
func (c *cluster) readFile(fsys env.FS, path string, from moldau.Offset) error {
	f, err := fsys.OpenRead(path)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return err
	}
	_, err = commitlog.Walk(f, 0, size, func(_ int64, b record.Batch) error { return c.readBatch(b, from) })
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

func (c *cluster) readBatch(b record.Batch, from moldau.Offset) error {
	if b.LastOffset() < from {
		return nil
	}
	for r, err := range b.Records(nil, recordsBytesMax) {
		switch {
		case err != nil:
			return err
		case r.Offset < from:
			continue
		case b.IsControl():
			c.readControl(r)
			continue
		}
		rec, err := schema.DecodeApache(r.Value)
		if err != nil {
			return fmt.Errorf("record at offset %d: %w; this directory may be of a newer Apache Kafka than 4.3", r.Offset, err)
		}
		c.take(rec)
	}
	c.end = max(c.end, b.LastOffset()+1)
	c.image, _ = c.image.Apply(c.end-1, b.LeaderEpoch(), c.batch)
	c.batch = nil
	return nil
}

// votersRecord is the type of the control record that lists the voters (KIP-853).
const votersRecord = 6

// readControl takes the number of voters; the other control records tell nothing of the cluster.
func (c *cluster) readControl(r record.Record) {
	if len(r.Key) < 4 || r.Key[3] != votersRecord || len(r.Value) < 3 {
		return
	}
	if n := int(r.Value[2]); n > 0 && n < 0x80 { // behind the version (2), a compact array
		c.voters = n - 1
	}
}

// readVoters takes the number of voters from quorum-state, which has them where they are configured and not in the log.
func (c *cluster) readVoters(fsys env.FS, dir string) error {
	b, err := env.ReadFile(fsys, filepath.Join(dir, quorumState), 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var state struct{ CurrentVoters []json.RawMessage }
	if err := json.Unmarshal(b, &state); err != nil {
		return fmt.Errorf("read %s: %w", filepath.Join(dir, quorumState), err)
	}
	c.voters = len(state.CurrentVoters)
	return nil
}

// take applies a record, or keeps it until its transaction ends.
func (c *cluster) take(rec schema.Record) {
	switch boundary, _ := rec.(schema.Boundary); schema.Type(boundary) {
	case schema.BeginTransactionType:
		c.pending = []schema.Record{}
	case schema.AbortTransactionType:
		c.pending = nil
	case schema.EndTransactionType:
		recs := c.pending
		c.pending = nil
		for _, r := range recs {
			c.apply(r)
		}
	default:
		if c.pending != nil {
			c.pending = append(c.pending, rec)
			return
		}
		c.apply(rec)
	}
}

// apply folds one record. Registrations of brokers stay outside of the Image: ours raise leader epochs, and Apache's
// controllers write each rise down.
func (c *cluster) apply(rec schema.Record) {
	switch r := rec.(type) {
	case *schema.RegisterBroker:
		c.brokers[r.Broker] = true
	case *schema.UnregisterBroker:
		delete(c.brokers, r.Broker)
	case *schema.AccessControl:
		c.access[r.ID] = r
	case *schema.RemoveAccessControl:
		delete(c.access, r.ID)
	case *schema.ScramCredential:
		c.scram[schema.RemoveScramCredential{User: r.User, Mechanism: r.Mechanism}] = true
	case *schema.RemoveScramCredential:
		delete(c.scram, *r)
	case *schema.DelegationToken:
		c.tokens[r.ID] = r
	case *schema.RemoveDelegationToken:
		delete(c.tokens, r.ID)
	case *schema.ClientQuota:
		if name := quotaName(r); r.Remove {
			delete(c.quotas, name)
		} else {
			c.quotas[name] = true
		}
	default:
		c.batch = append(c.batch, rec)
	}
}
