package controller

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/proto/config"
	"github.com/moldau/moldau/internal/proto/schema"
)

// check refuses what the configuration would become.
func (a *alteration) check() *refusal {
	switch a.res.Type {
	case schema.TopicResource:
		if err := config.CheckTopic(a.layers(a.after)); err != nil {
			return refuse(moldau.InvalidConfig, "%v", err)
		}
	case schema.BrokerResource:
		return a.checkBrokerEntries()
	case schema.ClientMetricsResource:
		return a.checkMetrics()
	case schema.GroupResource:
		return a.checkGroup()
	}
	return nil
}

// boundKeys say where the broker listens. Kafka lets them change at run time; here they are refused rather than taken and not
// obeyed.
var boundKeys = []string{"listeners", "listener.security.protocol.map"}

// checkBrokerEntries refuses what cannot change while a broker runs, what its key does not take, and what does not fit the
// rest. The code is that of Kafka, INVALID_REQUEST (C-37). Names that nobody knows are kept for plug-ins (C-33).
func (a *alteration) checkBrokerEntries() *refusal {
	perBroker := a.res.Name != ""
	for _, name := range slices.Sorted(slices.Values(a.set)) {
		k, prefixed, ok := brokerKey(name)
		if !ok {
			continue
		}
		err := k.CheckAlter(perBroker)
		if err == nil && slices.Contains(boundKeys, name) && a.after[name] != a.before[name] {
			err = fmt.Errorf("%s cannot be changed while the broker runs: ports are taken when it starts; set it in the configuration", name)
		}
		if err == nil {
			err = k.Check(a.after[name])
		}
		switch {
		case err != nil:
			return refuse(moldau.InvalidRequest, "%v", err)
		case !prefixed && strings.HasPrefix(name, "ssl.") && k.Update == config.UpdatePerBroker:
			return refuse(moldau.InvalidRequest, "%s can only be changed for one listener: write listener.name.LISTENER.%s", name, name)
		}
		if no := a.checkThreads(k); no != nil {
			return no
		}
	}
	if _, err := config.ResolveBrokerLayers(a.layers(a.after)); err != nil && len(a.set) > 0 {
		return refuse(moldau.InvalidRequest, "%v", err)
	}
	return nil
}

// brokerKey finds the key behind a name that may bear the prefix of a listener, and within it that of a SASL mechanism
// (C-34).
func brokerKey(name string) (k *config.Key, prefixed, ok bool) {
	rest, prefixed := strings.CutPrefix(name, "listener.name.")
	if !prefixed {
		k, ok = config.Lookup(config.ScopeBroker, name)
		return k, false, ok
	}
	for range 2 {
		_, rest, ok = strings.Cut(rest, ".")
		if !ok {
			return nil, true, false
		}
		if k, ok = config.Lookup(config.ScopeBroker, rest); ok {
			return k, true, true
		}
	}
	return nil, true, false
}

// threadKeys are sizes of thread pools, which change by a factor of two at most in one step (C-33).
var threadKeys = []string{"background.threads", "log.cleaner.threads", "num.io.threads", "num.network.threads",
	"num.recovery.threads.per.data.dir", "num.replica.fetchers"}

func (a *alteration) checkThreads(k *config.Key) *refusal {
	if !slices.Contains(threadKeys, k.Name) {
		return nil
	}
	now, err := strconv.Atoi(a.layers(a.before).Effective(k).Value)
	if err != nil {
		return nil // the layers hold what the key does not take; the new value cures it
	}
	next, err := strconv.Atoi(strings.TrimSpace(a.after[k.Name]))
	if err != nil || next < 1 || next > 2*now || next < now/2 {
		return refuse(moldau.InvalidRequest, "%s can change to between half and double of its %d at a time, not to %.20s", k.Name, now, a.after[k.Name])
	}
	return nil
}

// checkMetrics gives two mistakes another code than elsewhere, as Kafka does.
func (a *alteration) checkMetrics() *refusal {
	for _, name := range slices.Sorted(slices.Values(a.set)) {
		k, ok := config.Lookup(config.ScopeClientMetrics, name)
		if !ok {
			return refuse(moldau.InvalidRequest, "unknown %s key %.100q", config.ScopeClientMetrics, name)
		}
		if err := k.Check(a.after[name]); err != nil {
			_, notNumber := strconv.ParseInt(strings.TrimSpace(a.after[name]), 10, 32)
			if name == "interval.ms" && notNumber == nil {
				return refuse(moldau.InvalidRequest, "%v", err)
			}
			return refuse(moldau.InvalidConfig, "%v", err)
		}
	}
	return nil
}

// checkGroup holds the entries of a group against the bounds that the broker sets for all groups (C-35), and the session
// time-out of each protocol against its heartbeat interval.
func (a *alteration) checkGroup() *refusal {
	if err := config.CheckResource(config.ScopeGroup, a.after); err != nil {
		return refuse(moldau.InvalidConfig, "%v", err)
	}
	layers := a.layers(a.after)
	for _, name := range slices.Sorted(slices.Values(a.set)) {
		value, err := strconv.ParseInt(strings.TrimSpace(a.after[name]), 10, 64)
		if err != nil {
			continue // its key takes something else than numbers
		}
		protocol, rest, _ := strings.Cut(name, ".")
		rest = strings.TrimPrefix(rest, "num.") // streams.num.standby.replicas under group.streams.max.standby.replicas
		if least, key, ok := bound(layers, "group."+protocol+".min."+rest); ok && value < least {
			return refuse(moldau.InvalidConfig, "%s=%d must be at least %s=%d", name, value, key, least)
		}
		if most, key, ok := bound(layers, "group."+protocol+".max."+rest); ok && value > most {
			return refuse(moldau.InvalidConfig, "%s=%d must be at most %s=%d", name, value, key, most)
		}
	}
	for _, protocol := range []string{"consumer", "share", "streams"} {
		session, heartbeat := protocol+".session.timeout.ms", protocol+".heartbeat.interval.ms"
		s, b := number(layers, config.ScopeGroup, session), number(layers, config.ScopeGroup, heartbeat)
		if s <= b && (slices.Contains(a.set, session) || slices.Contains(a.set, heartbeat)) {
			return refuse(moldau.InvalidConfig, "%s=%d must be more than %s=%d", session, s, heartbeat, b)
		}
	}
	return nil
}

// bound is the value of a broker key, if there is such a key.
func bound(l config.Layers, key string) (n int64, name string, ok bool) {
	if _, ok := config.Lookup(config.ScopeBroker, key); !ok {
		return 0, "", false
	}
	return number(l, config.ScopeBroker, key), key, true
}

// number is the value of a key that takes numbers, 0 where there is none.
func number(l config.Layers, scope config.Scope, key string) int64 {
	k, ok := config.Lookup(scope, key)
	if !ok {
		return 0
	}
	n, err := strconv.ParseInt(l.Effective(k).Value, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
