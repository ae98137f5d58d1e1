package offline

import (
	"cmp"
	"maps"
	"slices"

	"github.com/moldau/moldau"
)

// sorted returns the partitions of m by topic and number.
func sorted[V any](m map[moldau.TopicPartition]V) []moldau.TopicPartition {
	return slices.SortedFunc(maps.Keys(m), func(a, b moldau.TopicPartition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
