package api

// ApiVersions (key 18), versions 0–4
//
// Behaviour: what is served and in which versions, derived from the routes; supported and finalized features. A version
// that is not known is answered in the encoding of v0 with UNSUPPORTED_VERSION and the range of this key (W-30, X-1, X-2).
// Version notes: v3 client software name and version, checked (W-31, KIP-511); features in tags (KIP-584); v4 lists
// features whose minimum is 0 (W-32).

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/controller"
	"github.com/moldau/moldau/internal/node/server"
	"github.com/moldau/moldau/internal/proto/wire"
)

func apiVersions(b *Broker, c *server.Call) server.Pending {
	resp := kmsg.NewPtrApiVersionsResponse()
	if c.Version < 0 || c.Version > wire.ApiVersions.Apache().Max {
		resp.ErrorCode = int16(moldau.UnsupportedVersion)
		own := wire.ApiVersions.Apache()
		resp.ApiKeys = []kmsg.ApiVersionsResponseApiKey{{ApiKey: int16(wire.ApiVersions), MinVersion: own.Min, MaxVersion: own.Max}}
		return answer(resp, 0)
	}
	req, err := wire.Decode(c.Key, c.Version, c.Body, decodeBudget(len(c.Body)))
	if err != nil {
		return server.HangUp(fmt.Errorf("malformed ApiVersions request, version %d: %w", c.Version, err))
	}
	if q := req.(*kmsg.ApiVersionsRequest); c.Version >= 3 {
		if !isSoftwareName(q.ClientSoftwareName) || !isSoftwareName(q.ClientSoftwareVersion) {
			resp.ErrorCode = int16(moldau.InvalidRequest)
			return answer(resp, c.Version)
		}
		c.Introduce(q.ClientSoftwareName, q.ClientSoftwareVersion)
	}
	for i := range b.routes {
		if r := &b.routes[i]; r.On&c.Listener.Kind != 0 {
			resp.ApiKeys = append(resp.ApiKeys, kmsg.ApiVersionsResponseApiKey{
				ApiKey: int16(r.Key), MinVersion: r.Advertised.Min, MaxVersion: r.Advertised.Max,
			})
		}
	}
	if c.Version >= 3 {
		b.addFeatures(resp, c.Version)
	}
	return answer(resp, c.Version)
}

func (b *Broker) addFeatures(resp *kmsg.ApiVersionsResponse, version int16) {
	for _, f := range controller.SupportedFeatures() {
		if f.Min == 0 && version < 4 {
			continue
		}
		resp.SupportedFeatures = append(resp.SupportedFeatures, kmsg.ApiVersionsResponseSupportedFeature{
			Name: f.Name, MinVersion: f.Min, MaxVersion: f.Max,
		})
	}
	im := b.Metadata.Image()
	resp.FinalizedFeaturesEpoch = int64(im.Offset())
	for name, level := range im.Features() {
		resp.FinalizedFeatures = append(resp.FinalizedFeatures, kmsg.ApiVersionsResponseFinalizedFeature{
			Name: name, MinVersionLevel: level, MaxVersionLevel: level,
		})
	}
}

// isSoftwareName: letters and digits, with dots and dashes inside (W-31).
func isSoftwareName(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (c != '.' && c != '-' || i == 0 || i == len(s)-1) {
			return false
		}
	}
	return s != ""
}
