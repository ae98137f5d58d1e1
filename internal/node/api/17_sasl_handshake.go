package api

// SaslHandshake (key 17), versions 0–1
//
// Behaviour: on a listener without SASL the client is told ILLEGAL_SASL_STATE (W-24). Version 2 must not exist.

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/node/server"
)

func saslHandshake(_ *Broker, _ *server.Call, _ *kmsg.SASLHandshakeRequest) kmsg.Response {
	resp := kmsg.NewPtrSASLHandshakeResponse()
	resp.ErrorCode = int16(moldau.IllegalSaslState)
	return resp
}
