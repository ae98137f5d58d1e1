// Package plant marks the places where a bug can be planted, so that it is seen which test catches it: a checker that has never
// failed proves nothing. docs/verification.md lists the bugs and the tests; `make plant` plants one after another.
//
// What is built without the tag plant has none of this: Has is false there at compile time, and the compiler drops what
// depends on it.
package plant

// Bug is one that can be planted, by the name that the linker is given.
type Bug string

// The bugs.
const (
	AckBeforeSync            Bug = "ack-before-sync"            // a durable topic answers, and is read, before the disk has the records
	CleanMarkerKept          Bug = "clean-marker-kept"          // the mark of a clean stop is still there while logs are opened
	CRCUnchecked             Bug = "crc-unchecked"              // a recovery believes batches whose bytes it has not compared
	DeletedByOldName         Bug = "deleted-by-old-name"        // a deleted file keeps its name until it is removed
	DirectoryUnsynced        Bug = "directory-unsynced"         // a flush leaves the names of new segments to chance
	EpochsUnsaved            Bug = "epochs-unsaved"             // a flush passes the first record of an epoch, and the checkpoint of epochs stays
	FailedSyncForgotten      Bug = "failed-sync-forgotten"      // a log goes on after a sync that has failed
	IndexOffByOne            Bug = "index-off-by-one"           // an entry of the index points to the batch behind
	MarkersUnsettled         Bug = "markers-unsettled"          // compaction goes by markers that a power loss can take back
	MarkerEarly              Bug = "marker-early"               // compaction drops the marker of a transaction that has data left
	ProducerForgotten        Bug = "producer-forgotten"         // compaction drops the last batch of a producer
	ProducersBeforeWrite     Bug = "producers-before-write"     // what is known of producers changes before the write that may fail
	ReadsUncommitted         Bug = "reads-uncommitted"          // a fetch is given what is above the high watermark
	RecoveryPointTooFar      Bug = "recovery-point-too-far"     // it covers what was appended during the sync
	RetentionAboveCommitted  Bug = "retention-above-committed"  // retention deletes above the high watermark
	SnapshotUnsynced         Bug = "snapshot-unsynced"          // segments go before what they told of producers is durable
	SwapUnsynced             Bug = "swap-unsynced"              // a compacted segment gets its names without a sync between the steps
	TimestampOffByOne        Bug = "timestamp-off-by-one"       // a lookup by time begins behind the batch that it looks for
	TombstoneEarly           Bug = "tombstone-early"            // a tombstone goes with the pass that sees it first
	TruncationKeepsProducers Bug = "truncation-keeps-producers" // what was cut off still counts for its producers
	UnreadableIsAbsent       Bug = "unreadable-is-absent"       // a checkpoint that cannot be read is taken for none
)
