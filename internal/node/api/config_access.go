package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/access"
	"github.com/moldau/moldau/internal/node/server"
	"github.com/moldau/moldau/internal/proto/schema"
)

// configAccess is the code with which an operation on a resource's configuration is refused, or None (7.3).
func (b *Broker) configAccess(c *server.Call, op access.Operation, t schema.ResourceType, name string) moldau.Code {
	switch t {
	case schema.TopicResource:
		if !b.allowedTopic(c, op, name) {
			return moldau.TopicAuthorizationFailed
		}
	case schema.GroupResource:
		if !b.allowed(c, op, access.Group, name) {
			return moldau.GroupAuthorizationFailed
		}
	default:
		if !b.allowedCluster(c, op) {
			return moldau.ClusterAuthorizationFailed
		}
	}
	return moldau.None
}

// refuseAlter is the answer for a resource that the caller may not alter, and for the levels of loggers, which are not
// records; nil where the controller is to decide.
func (b *Broker) refuseAlter(c *server.Call, t kmsg.ConfigResourceType, name string) *kmsg.AlterConfigsResponseResource {
	out := kmsg.NewAlterConfigsResponseResource()
	out.ResourceType, out.ResourceName = t, name
	code := b.configAccess(c, access.AlterConfigs, schema.ResourceType(t), name)
	switch {
	case code != moldau.None:
		out.ErrorMessage = text("ALTER_CONFIGS is needed")
	case schema.ResourceType(t) == schema.BrokerLoggerResource:
		code, out.ErrorMessage = moldau.InvalidRequest, text("there are no loggers by name; set moldau.log.level and restart the broker")
	default:
		return nil
	}
	out.ErrorCode = int16(code)
	return &out
}
