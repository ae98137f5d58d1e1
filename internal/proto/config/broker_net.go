package config

import (
	"fmt"
	"slices"
	"strings"
)

// listeners settles what the broker listens on and for whom.
func (r *reader) listeners(b *Broker) {
	for _, name := range r.list("controller.listener.names") {
		b.ControllerListenerNames = append(b.ControllerListenerNames, strings.ToUpper(name))
	}
	for _, l := range r.withProtocols(r.endpoints("listeners"), b.ControllerListenerNames) {
		switch {
		case slices.Contains(b.ControllerListenerNames, l.Name):
			b.ControllerListeners = append(b.ControllerListeners, l)
		case l.Name == "CONTROLLER":
			r.fail("listeners: controller.listener.names does not name %s, so clients would be led to it; set controller.listener.names=CONTROLLER", l)
		default:
			b.Listeners = append(b.Listeners, l)
		}
	}
	for _, name := range b.ControllerListenerNames {
		if !has(b.ControllerListeners, name) {
			r.fail("controller.listener.names: %s is not among listeners; add %s://HOST:PORT there", name, name)
		}
	}
	if len(b.Listeners) == 0 {
		r.fail("listeners has none for clients; add one, such as PLAINTEXT://127.0.0.1:9092")
	}
}

// endpoints reads a list of addresses, each with a name of its own.
func (r *reader) endpoints(key string) []Listener {
	all, err := parseEndpoints(r.get(key))
	if err != nil {
		r.fail("%s: %w", key, err)
	}
	for i, l := range all {
		if has(all[:i], l.Name) {
			r.fail("%s: the name %s stands twice; each listener needs its own", key, l.Name)
		}
	}
	return all
}

// withProtocols checks ports and fills in the protocol of each listener. A controller listener that no map names is PLAINTEXT.
func (r *reader) withProtocols(listeners []Listener, controllers []string) []Listener {
	const mapKey = "listener.security.protocol.map"
	byName, err := parseProtocolMap(r.get(mapKey))
	if err != nil {
		r.fail("%s: %w", mapKey, err)
	}
	for i := range listeners {
		l := &listeners[i]
		l.Protocol = byName[l.Name]
		if l.Protocol == "" && !r.isSet(mapKey) && slices.Contains(controllers, l.Name) {
			l.Protocol = PLAINTEXT
		}
		switch l.Protocol {
		case PLAINTEXT:
		case "":
			r.fail("listeners: the protocol of %s is not known; add %s:PLAINTEXT to %s", l, l.Name, mapKey)
		default:
			r.fail("listeners: %s uses %s, which is not supported yet (TLS and SASL come later); use PLAINTEXT in a trusted network", l, l.Protocol)
		}
		for _, o := range listeners[:i] {
			if o.Port == l.Port && l.Port != 0 && !differentFamilies(o.Host, l.Host) {
				r.fail("listeners: %s and %s share port %d; each listener needs its own", o, l, l.Port)
			}
		}
	}
	return listeners
}

// interBroker settles the listener between brokers. On one node it hardly matters, so an unset one follows what there is.
func (r *reader) interBroker(b *Broker) {
	name := strings.ToUpper(r.get("inter.broker.listener.name"))
	if name != "" && r.isSet("security.inter.broker.protocol") {
		r.fail("inter.broker.listener.name and security.inter.broker.protocol are both set; keep the first")
	}
	switch {
	case len(b.Listeners) == 0: // told already
	case name == "" && has(b.Listeners, PLAINTEXT):
		name = PLAINTEXT
	case name == "":
		name = b.Listeners[0].Name
	case !has(b.Listeners, name):
		r.fail("inter.broker.listener.name: %s is not among the listeners for brokers: %s", name, describe(b.Listeners))
	}
	b.InterBrokerListener = name
}

// advertised settles the addresses that clients are told. What advertised.listeners leaves out, they are not told.
func (r *reader) advertised(b *Broker) {
	const key = "advertised.listeners"
	for _, l := range b.ControllerListeners {
		if l.unroutable() {
			l.Host = ""
		}
		b.AdvertisedControllers = append(b.AdvertisedControllers, l)
	}
	if !r.isSet(key) {
		for _, l := range b.Listeners {
			if l.unroutable() {
				r.fail("listeners: %s listens on every interface, so clients must be told an address; set %s=%s://HOST:%d", l, key, l.Name, l.Port)
			}
		}
		b.AdvertisedListeners = slices.Clone(b.Listeners)
		return
	}
	for _, l := range r.endpoints(key) {
		sameName := func(o Listener) bool { return o.Name == l.Name }
		at, inControllers := slices.IndexFunc(b.Listeners, sameName), slices.IndexFunc(b.ControllerListeners, sameName)
		switch {
		case l.unroutable():
			r.fail("%s: nobody can connect to %s; name a host that clients reach", key, l)
		case l.Port == 0:
			r.fail("%s: %s needs a port from 1 to 65535", key, l)
		case at >= 0:
			l.Protocol = b.Listeners[at].Protocol
			b.AdvertisedListeners = append(b.AdvertisedListeners, l)
		case inControllers >= 0:
			l.Protocol = b.ControllerListeners[inControllers].Protocol
			b.AdvertisedControllers[inControllers] = l
		default:
			r.fail("%s: %s is not among listeners: %s", key, l.Name, describe(b.Listeners))
		}
	}
	if b.InterBrokerListener != "" && !has(b.AdvertisedListeners, b.InterBrokerListener) {
		r.fail("%s does not have %s, the listener between brokers; add it", key, b.InterBrokerListener)
	}
}

// quorum accepts a metadata quorum of this node alone.
func (r *reader) quorum(b *Broker) {
	const votersKey, serversKey = "controller.quorum.voters", "controller.quorum.bootstrap.servers"
	all, err := parseVoters(r.get(votersKey))
	if err != nil {
		r.fail("%s: %w", votersKey, err)
	}
	for i, v := range all {
		switch {
		case v.id != b.NodeID:
			r.fail("%s names node %d, and this is node %d: a quorum of several nodes is not supported yet", votersKey, v.id, b.NodeID)
		case i > 0:
			r.fail("%s names node %d twice", votersKey, v.id)
		}
	}
	for _, server := range r.list(serversKey) {
		_, port, err := splitHostPort(server)
		switch {
		case err != nil:
			r.fail("%s: %w", serversKey, err)
		case len(b.ControllerListeners) == 0:
			r.fail("%s=%s: this node has no controller listener; leave the key out, or add CONTROLLER to listeners and controller.listener.names", serversKey, server)
		case !slices.ContainsFunc(b.ControllerListeners, func(l Listener) bool { return l.Port == port }):
			r.fail("%s names %s, and this node is %s: a quorum of several nodes is not supported yet", serversKey, server, describe(b.ControllerListeners))
		}
	}
}

func has(listeners []Listener, name string) bool {
	return slices.ContainsFunc(listeners, func(l Listener) bool { return l.Name == name })
}

// describe joins listeners for a message.
func describe(listeners []Listener) string {
	if len(listeners) == 0 {
		return "none"
	}
	return strings.Trim(fmt.Sprint(listeners), "[]")
}
