package api

// DescribeDelegationToken (key 41), versions 1–3
//
// Behaviour: DELEGATION_TOKEN_REQUEST_NOT_ALLOWED, as tokens need a connection that was authenticated by SASL or mutual
// TLS (S-20), and there is none yet.

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/node/server"
)

func describeDelegationToken(_ *Broker, _ *server.Call, _ *kmsg.DescribeDelegationTokenRequest) kmsg.Response {
	resp := kmsg.NewPtrDescribeDelegationTokenResponse()
	resp.ErrorCode = int16(moldau.DelegationTokenRequestNotAllowed)
	return resp
}
