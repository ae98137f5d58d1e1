// Package group is the consumer groups and their committed offsets, as a machine over a partition of __consumer_offsets.
//
// What a restart remembers of a group is what its records say: the generation with its members and their assignments, and
// the offsets. Who is joining, who waits for whom and when whose patience ends is not written down; members that find
// their coordinator gone come again. Rules are cited by the ids of docs/contract.md (G-1 …).
package group
