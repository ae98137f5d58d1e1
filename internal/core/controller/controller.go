// Package controller holds the commands on the cluster's metadata: functions from an Image and a request to a response
// and the records that make it true.
//
// A command changes nothing. Its caller appends the records as one batch, applies them and releases the response when
// they are committed; a response without records may leave at once. The Image given is the head, with all that the
// controller has decided before. Requests arrive authorised: what the caller refused it takes out before and puts into
// the response after. Codes are those of Apache Kafka 4.3.1 for the same request; messages are our own words.
package controller

import (
	"fmt"
	"strconv"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/proto/config"
	"github.com/moldau/moldau/internal/proto/schema"
)

// Env is what commands need beside the Image.
type Env struct {
	ClusterID  string
	Config     *config.Broker        // of the broker that the client asked; its NodeID is that broker
	Static     map[string]string     // where Config comes from: Settings.Static
	NewTopicID func() moldau.TopicID // random, never zero or reserved (C-42)
	Seed       uint64                // where the placement of new partitions starts: any random number
}

// operationRecordsMax is the most records that one operation may make (C-3), and the most partitions.
const operationRecordsMax = 10_000

// refusal is why a request, or one part of it, is not done. A nil refusal refuses nothing.
type refusal struct {
	code    moldau.Code
	message string
}

func refuse(code moldau.Code, format string, args ...any) *refusal {
	return &refusal{code, fmt.Sprintf(format, args...)}
}

// tell writes the refusal into the two fields that every response has for it.
func (r *refusal) tell(code *int16, message **string) {
	if r == nil {
		*code, *message = int16(moldau.None), nil
		return
	}
	*code, *message = int16(r.code), &r.message
}

// tooLarge refuses a request that would make more than operationRecordsMax partitions or records at once.
func tooLarge(n int, what string) *refusal {
	return refuse(moldau.PolicyViolation, "the request makes %d %s, more than the %d of one operation: split it into several", n, what, operationRecordsMax)
}

// tooManyRecords refuses a request for its records. That each topic has one beside those of its partitions is why 10,000 partitions
// are one too many for a request, as in Apache Kafka.
func tooManyRecords(n int) *refusal {
	return tooLarge(n, "metadata records (one for each topic, partition and configuration)")
}

// topicLayers are the layers under which the topic's overrides take effect at the broker of env.
func topicLayers(im *metadata.Image, env Env, overrides map[string]string) config.Layers {
	return config.Layers{
		Resource: overrides,
		Broker:   im.Config(brokerResource(env.Config.NodeID)),
		Default:  im.Config(metadata.Resource{Type: schema.BrokerResource}),
		Static:   env.Static,
	}
}

// TopicConfig is what decides the configuration of a topic at the broker of env, on which config.ResolveTopic is called.
func TopicConfig(im *metadata.Image, topic string, env Env) config.Layers {
	return topicLayers(im, env, im.Config(metadata.Resource{Type: schema.TopicResource, Name: topic}))
}

// BrokerConfig is what decides the configuration of the broker of env, static and dynamic.
func BrokerConfig(im *metadata.Image, env Env) config.Layers {
	return topicLayers(im, env, nil)
}

func brokerResource(id moldau.BrokerID) metadata.Resource {
	return metadata.Resource{Type: schema.BrokerResource, Name: strconv.Itoa(int(id))}
}
