package config

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/moldau/moldau"
)

// PLAINTEXT is the security protocol without TLS and SASL.
const PLAINTEXT = "PLAINTEXT"

// protocols are Kafka's security protocols.
var protocols = []string{PLAINTEXT, "SSL", "SASL_PLAINTEXT", "SASL_SSL"}

// A Listener is one address under a listener name.
type Listener struct {
	Name     string // in upper case, unique in the broker
	Protocol string // PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL
	Host     string // without brackets. Empty: every interface; in an advertised address, the machine's own name
	Port     int32  // 0: the system picks one
}

// Addr is the address in the form host:port.
func (l Listener) Addr() string { return net.JoinHostPort(l.Host, strconv.Itoa(int(l.Port))) }

// String is the listener as the configuration writes it.
func (l Listener) String() string { return l.Name + "://" + l.Addr() }

// unroutable reports whether the host is an address that means "every interface".
func (l Listener) unroutable() bool {
	ip, err := netip.ParseAddr(l.Host)
	return err == nil && ip.IsUnspecified()
}

// parseEndpoints reads NAME://host:port, …; protocols are left open.
func parseEndpoints(value string) ([]Listener, error) {
	var listeners []Listener
	for _, e := range splitList(value) {
		name, address, ok := strings.Cut(e, "://")
		if !ok || name == "" {
			return nil, fmt.Errorf("%q is not of the form NAME://host:port", clip(e))
		}
		if !isListenerName(name) {
			return nil, fmt.Errorf("the listener name %q has a character other than letters, digits, '.', '_' and '-'", clip(name))
		}
		host, port, err := splitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("listener %s: %w", name, err)
		}
		listeners = append(listeners, Listener{Name: strings.ToUpper(name), Host: host, Port: port})
	}
	return listeners, nil
}

func isListenerName(name string) bool {
	for _, c := range []byte(name) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

// parseProtocolMap reads NAME:PROTOCOL, … into protocols by listener name, both in upper case.
func parseProtocolMap(value string) (map[string]string, error) {
	byName := make(map[string]string)
	for _, pair := range splitList(value) {
		name, protocol, ok := strings.Cut(pair, ":")
		name, protocol = strings.ToUpper(strings.TrimSpace(name)), strings.ToUpper(strings.TrimSpace(protocol))
		if !ok || name == "" {
			return nil, fmt.Errorf("%q is not of the form NAME:PROTOCOL", clip(pair))
		}
		if !slices.Contains(protocols, protocol) {
			return nil, fmt.Errorf("the protocol of listener %s, %q, is none of: %s", name, clip(protocol), strings.Join(protocols, ", "))
		}
		if before, ok := byName[name]; ok && before != protocol {
			return nil, fmt.Errorf("listener %s has two protocols, %s and %s", name, before, protocol)
		}
		byName[name] = protocol
	}
	return byName, nil
}

// A voter is one member of controller.quorum.voters.
type voter struct {
	id   moldau.BrokerID
	host string
	port int32
}

// parseVoters reads id@host:port, ….
func parseVoters(value string) ([]voter, error) {
	var all []voter
	for _, v := range splitList(value) {
		id, address, ok := strings.Cut(v, "@")
		n, err := strconv.ParseUint(id, 10, 31)
		if !ok || err != nil {
			return nil, fmt.Errorf("%q is not of the form id@host:port", clip(v))
		}
		host, port, err := splitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("voter %d: %w", n, err)
		}
		all = append(all, voter{moldau.BrokerID(n), host, port})
	}
	return all, nil
}

// differentFamilies reports whether a and b are an IPv4 and an IPv6 address, which can share a port.
func differentFamilies(a, b string) bool {
	ipA, errA := netip.ParseAddr(a)
	ipB, errB := netip.ParseAddr(b)
	return errA == nil && errB == nil && ipA.Is4() != ipB.Is4()
}
