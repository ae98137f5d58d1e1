package broker

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/moldau/moldau/internal/node/server"
	"github.com/moldau/moldau/internal/proto/config"
)

func portOf(addr net.Addr) (int, error) {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return 0, fmt.Errorf("the address %s has no port", addr)
	}
	return tcp.Port, nil
}

// advertised is addresses as others are told them, with the ports that were bound.
func (b *Broker) advertised(listeners []config.Listener) []config.Listener {
	var all []config.Listener
	for _, l := range listeners {
		bound, ok := b.bound[l.Name]
		if !ok {
			continue
		}
		if l.Port == 0 {
			l.Port = int32(bound.port)
		}
		if l.Host == "" {
			l.Host = b.hostname()
		}
		all = append(all, l)
	}
	return all
}

// hostname is how others may reach this machine; where it has no name of its own only it can.
func (b *Broker) hostname() string {
	if name, err := b.env.Hostname(); err == nil && name != "" {
		return name
	}
	return "localhost"
}

// Info is what a person wants to know of a broker that runs.
type Info struct {
	ClusterID string
	NodeID    int32
	Listeners []string // NAME://host:port as bound, clients' first
	Bootstrap string   // host:port for a client on this machine
	HTTP      string   // host:port of /metrics, empty where it is off
	LogDirs   []string
	Opening   time.Duration // from the start to the open ports
	Recovered bool          // the last stop was not clean
}

// Info tells about the broker.
func (b *Broker) Info() Info {
	info := Info{
		ClusterID: b.identity.ClusterID, NodeID: int32(b.config.NodeID), LogDirs: slices.Clone(b.config.LogDirs),
		HTTP: b.http, Opening: b.opening, Recovered: b.served && !b.clean,
	}
	for _, l := range slices.Concat(b.config.Listeners, b.config.ControllerListeners) {
		at := b.bound[l.Name]
		l.Port = int32(at.port)
		info.Listeners = append(info.Listeners, l.String())
		if info.Bootstrap == "" && at.kind == server.ForBrokers {
			if l.Host == "" || strings.Trim(l.Host, "0:.") == "" {
				l.Host = "127.0.0.1"
			}
			info.Bootstrap = l.Addr()
		}
	}
	return info
}
