package api

// DescribeUserScramCredentials (key 50), version 0
//
// Behaviour: no credentials exist: an empty list for all users, RESOURCE_NOT_FOUND for one that is named.

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/node/server"
)

func describeUserScramCredentials(b *Broker, c *server.Call, req *kmsg.DescribeUserSCRAMCredentialsRequest) kmsg.Response {
	resp := kmsg.NewPtrDescribeUserSCRAMCredentialsResponse()
	if !b.allowedCluster(c, access.Describe) {
		resp.ErrorCode = int16(moldau.ClusterAuthorizationFailed)
		return resp
	}
	times := make(map[string]int)
	for _, u := range req.Users {
		times[u.Name]++
	}
	for _, u := range req.Users {
		if times[u.Name] == 0 {
			continue
		}
		r := kmsg.NewDescribeUserSCRAMCredentialsResponseResult()
		r.User = u.Name
		if times[u.Name] > 1 {
			r.ErrorCode = int16(moldau.DuplicateResource)
			r.ErrorMessage = text("the user %q stands twice in the request", u.Name)
		} else {
			r.ErrorCode = int16(moldau.ResourceNotFound)
			r.ErrorMessage = text("the user %q has no SCRAM credentials", u.Name)
		}
		times[u.Name] = 0
		resp.Results = append(resp.Results, r)
	}
	return resp
}
