package controller

import (
	"slices"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/proto/schema"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// MetadataVersionFeature is the feature that a cluster always has finalised.
	MetadataVersionFeature = "metadata.version"
	// MetadataVersion is the level of a new cluster: 4.3-IV0, which Apache Kafka 4.3.1 gives a new cluster too.
	MetadataVersion = 30
	// kraftVersionFeature is told by the quorum, not by a record: its voters always have directory ids here, level 1.
	kraftVersionFeature = "kraft.version"
	kraftVersion        = 1
	// transactionVersionFeature is what clients are to speak of transactions: from 2 on the epoch rises with each end and
	// partitions join with the first record (KIP-890, X-58).
	transactionVersionFeature = "transaction.version"
	transactionVersion        = 2
)

// SupportedFeatures are the features that this program can run, with their levels, sorted by name. group.version, share.version
// and streams.version join when their coordinators exist, eligible.leader.replicas.version when replication maintains the set.
func SupportedFeatures() []schema.Feature {
	return []schema.Feature{
		{Name: kraftVersionFeature, Min: 0, Max: kraftVersion},
		{Name: MetadataVersionFeature, Min: 7, Max: MetadataVersion},
		{Name: transactionVersionFeature, Min: 0, Max: transactionVersion},
	}
}

// Bootstrap are the first records of a new cluster. Features that are not named are at level 0. Without eligible leader
// replicas no cluster-level min.insync.replicas entry is needed.
func Bootstrap() []schema.Record {
	return []schema.Record{
		&schema.FeatureLevel{Name: MetadataVersionFeature, Level: MetadataVersion},
		&schema.FeatureLevel{Name: transactionVersionFeature, Level: transactionVersion},
	}
}

// Upgrade finalises what a cluster that began with an older program has not heard of. A level that somebody has chosen stays;
// nobody can choose 0, see checkLevel.
func Upgrade(im *metadata.Image) []schema.Record {
	if im.Feature(transactionVersionFeature) > 0 {
		return nil
	}
	return []schema.Record{&schema.FeatureLevel{Name: transactionVersionFeature, Level: transactionVersion}}
}

// UpdateFeatures finalises features at other levels, all or none (C-20).
func UpdateFeatures(im *metadata.Image, req *kmsg.UpdateFeaturesRequest) (*kmsg.UpdateFeaturesResponse, []schema.Record) {
	resp := req.ResponseKind().(*kmsg.UpdateFeaturesResponse)
	var recs []schema.Record
	levels := map[string]int16{}
	for _, u := range req.FeatureUpdates {
		level, ok := levels[u.Feature]
		if !ok {
			level = finalised(im, u.Feature)
		}
		kind := u.UpgradeType
		if req.Version == 0 {
			kind = upgrade
			if u.AllowDowngrade {
				kind = safeDowngrade
			}
		}
		if no := checkLevel(im, u.Feature, level, u.MaxVersionLevel, kind); no != nil {
			no.tell(&resp.ErrorCode, &resp.ErrorMessage)
			resp.Results = nil
			return resp, nil
		}
		if u.MaxVersionLevel != level {
			recs = append(recs, &schema.FeatureLevel{Name: u.Feature, Level: u.MaxVersionLevel})
		}
		levels[u.Feature] = u.MaxVersionLevel
		result := kmsg.NewUpdateFeaturesResponseResult() // encoded in versions 0 and 1 only
		result.Feature = u.Feature
		if req.Version <= 1 {
			resp.Results = append(resp.Results, result)
		}
	}
	if req.ValidateOnly {
		recs = nil
	}
	return resp, recs
}

// The upgrade types of UpdateFeatures.
const (
	upgrade         = 1
	safeDowngrade   = 2
	unsafeDowngrade = 3
)

func finalised(im *metadata.Image, feature string) int16 {
	if feature == kraftVersionFeature {
		return kraftVersion
	}
	return im.Feature(feature)
}

func checkLevel(im *metadata.Image, feature string, level, want int16, kind int8) *refusal {
	bad := func(format string, args ...any) *refusal {
		no := refuse(moldau.InvalidUpdateVersion, format, args...)
		no.message = "nothing was changed: " + no.message
		return no
	}
	supported := SupportedFeatures()
	i := slices.IndexFunc(supported, func(f schema.Feature) bool { return f.Name == feature })
	switch {
	case i < 0:
		return bad("this cluster does not know the feature %.100q", feature)
	case want < supported[i].Min || want > supported[i].Max:
		return bad("%s cannot be %d: the controller supports %d to %d", feature, want, supported[i].Min, supported[i].Max)
	case kind < upgrade || kind > unsafeDowngrade:
		return bad("there is no upgrade type %d: 1 upgrades, 2 downgrades safely, 3 unsafely", kind)
	case want < level && kind == upgrade:
		return bad("%s is %d; going down to %d needs one of the downgrade types", feature, level, want)
	case want > level && kind != upgrade:
		return bad("%s is %d; going up to %d needs the upgrade type 1", feature, level, want)
	case want < level && (feature != transactionVersionFeature || want == 0):
		return bad("%s cannot go down from %d to %d: it would lose metadata", feature, level, want)
	}
	for b := range im.Brokers() {
		if f, ok := rangeOf(b.Features, feature); !ok || want < f.Min || want > f.Max {
			return bad("%s cannot be %d: broker %d does not support it", feature, want, b.ID)
		}
	}
	return nil
}

func rangeOf(features []schema.Feature, name string) (schema.Feature, bool) {
	i := slices.IndexFunc(features, func(f schema.Feature) bool { return f.Name == name })
	if i < 0 {
		return schema.Feature{}, false
	}
	return features[i], true
}
