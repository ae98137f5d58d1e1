package controller

import (
	"testing"

	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/proto/schema"
)

// TestUpgrade: a cluster of an older program gets the features that it has not heard of, and one that has chosen keeps its choice.
func TestUpgrade(t *testing.T) {
	old, _ := metadata.Empty().Apply(1, 1, []schema.Record{&schema.FeatureLevel{Name: MetadataVersionFeature, Level: MetadataVersion}})
	recs := Upgrade(old)
	upgraded, _ := old.Apply(2, 1, recs)
	if level := upgraded.Feature(transactionVersionFeature); level != transactionVersion {
		t.Errorf("transaction.version is %d after the upgrade", level)
	}
	chosen, _ := old.Apply(2, 1, []schema.Record{&schema.FeatureLevel{Name: transactionVersionFeature, Level: 1}})
	if recs := Upgrade(chosen); len(recs) > 0 {
		t.Errorf("an upgrade of what was chosen: %v", recs)
	}
}
