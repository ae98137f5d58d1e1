// Package commitlog is the log of one partition on disk, in Apache Kafka's layout, and the directories that hold logs.
//
// A Log is a row of segments. Each is a file of record batches (.log) whose name is its first offset, a sparse index
// from offset to position (.index), one from timestamp to offset (.timeindex), and a list of aborted transactions
// (.txnindex). Beside them stand snapshots of the producers' state (.snapshot), the leader epochs
// (leader-epoch-checkpoint) and the topic's identity (partition.metadata). Only the last segment, the active one, is
// appended to.
//
// The package is synchronous: no goroutines, no clock of its own, files only through env.FS. Methods that change a log
// are serialized by their caller, who holds the partition's lock. Readers take no lock: they use a view that each
// change publishes, and count references to the segments whose bytes they hold. Flush syncs beside appends.
//
// After a failed write or sync nothing more is appended (a page that could not be written may be lost silently at the
// next try): the log is poisoned until it is opened anew and recovered. A write that found no space is no such failure: it is
// taken back, and the log goes on.
package commitlog
