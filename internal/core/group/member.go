package group

import (
	"bytes"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau/moldau/internal/core/rsm"
)

// Client is who sends a request.
type Client struct{ ID, Host string }

// member is a member of a classic group.
type member struct {
	id       string
	instance *string // of a static member (KIP-345)
	client   Client

	sessionTimeout, rebalanceTimeout time.Duration
	protocols                        []protocol // in the order of its preference
	assignment                       []byte

	// expires is when it is given up unless it is heard of, or waits for an answer of ours.
	expires time.Time
	joining rsm.Ticket // its JoinGroup that waits
	joinsAs int16      // the version of that request
	syncing rsm.Ticket // its SyncGroup that waits
	owing   bool       // it has to send SyncGroup in this generation
	fresh   bool       // it joined for the first time and has not heard of it
}

// protocol is a way to assign that a member offers, with what it has to say for that.
type protocol struct {
	name     string
	metadata []byte
}

func protocolsOf(req *kmsg.JoinGroupRequest) []protocol {
	list := make([]protocol, len(req.Protocols))
	for i, p := range req.Protocols {
		list[i] = protocol{p.Name, p.Metadata}
	}
	return list
}

func equalProtocols(a, b []protocol) bool {
	return slices.EqualFunc(a, b, func(a, b protocol) bool { return a.name == b.name && bytes.Equal(a.metadata, b.metadata) })
}

// take makes the member what a JoinGroup says.
func (m *member) take(c Client, req *kmsg.JoinGroupRequest) {
	m.client = c
	m.sessionTimeout = millis(req.SessionTimeoutMillis)
	m.rebalanceTimeout = millis(req.RebalanceTimeoutMillis)
	if req.Version == 0 { // which has no field for it (G-2)
		m.rebalanceTimeout = m.sessionTimeout
	}
	m.protocols = protocolsOf(req)
}

func millis(ms int32) time.Duration { return time.Duration(ms) * time.Millisecond }

// alive notes that the member was heard of.
func (m *member) alive(now time.Time) { m.expires = now.Add(m.sessionTimeout) }

// waits reports whether an answer to the member is held back, so that it cannot be expected to speak.
func (m *member) waits() bool { return m.joining != rsm.NoTicket || m.syncing != rsm.NoTicket }

func (m *member) static() bool { return m.instance != nil }

// metadata is what the member says for a protocol.
func (m *member) metadata(name string) []byte {
	for _, p := range m.protocols {
		if p.name == name {
			return p.metadata
		}
	}
	return nil
}

// vote is the protocol that the member likes best among those that all support.
func (m *member) vote(candidates map[string]int, all int) string {
	for _, p := range m.protocols {
		if candidates[p.name] == all {
			return p.name
		}
	}
	return ""
}

func (m *member) stored(protocol string, assignment []byte) kmsg.GroupMetadataValueMember {
	v := kmsg.NewGroupMetadataValueMember()
	v.MemberID, v.InstanceID, v.ClientID, v.ClientHost = m.id, m.instance, m.client.ID, m.client.Host
	v.RebalanceTimeoutMillis, v.SessionTimeoutMillis = int32(m.rebalanceTimeout.Milliseconds()), int32(m.sessionTimeout.Milliseconds())
	v.Subscription, v.Assignment = m.metadata(protocol), assignment
	return v
}

// replay makes the member what a record says of it. Of the protocols only the chosen one was written down; one that is here
// already keeps what it offers.
func (m *member) replay(v *kmsg.GroupMetadataValueMember, chosen string) {
	m.instance, m.client = v.InstanceID, Client{v.ClientID, v.ClientHost}
	m.rebalanceTimeout, m.sessionTimeout = millis(v.RebalanceTimeoutMillis), millis(v.SessionTimeoutMillis)
	m.assignment = v.Assignment
	if m.protocols == nil {
		m.protocols = []protocol{{chosen, v.Subscription}}
	}
}
