package api

// DescribeDelegationToken (key 41), versions 1–3
//
// Behaviour: DELEGATION_TOKEN_AUTH_DISABLED, as no delegation.token.secret.key is configured (S-20).

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/node/server"
)

func describeDelegationToken(_ *Broker, _ *server.Call, _ *kmsg.DescribeDelegationTokenRequest) kmsg.Response {
	resp := kmsg.NewPtrDescribeDelegationTokenResponse()
	resp.ErrorCode = int16(moldau.DelegationTokenAuthDisabled)
	return resp
}
