package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// defaultAddress is where the tools look for a broker when nobody says otherwise.
const defaultAddress = "127.0.0.1:9092"

// probePatience bounds the wait for a first sign of life from one address.
const probePatience = 5 * time.Second

// client is a connection to a cluster whose first broker has been seen to answer.
type client struct {
	*kgo.Client
	admin *kadm.Client
}

// addresses are the brokers to begin with: the flag --bootstrap-server, the flag --context, MOLDAU_BOOTSTRAP,
// MOLDAU_CONTEXT, the context in use, the default; the first of these that is there.
func (c *cli) addresses() ([]string, error) {
	if len(c.bootstrap) > 0 {
		return withPorts(c.bootstrap)
	}
	name := c.context
	if name == "" {
		if list := splitList(c.env.get("MOLDAU_BOOTSTRAP")); len(list) > 0 {
			return withPorts(list)
		}
		name = c.env.get("MOLDAU_CONTEXT")
	}
	contexts, err := c.readContexts()
	if err != nil {
		return nil, err
	}
	if name == "" {
		name = contexts.Current
	}
	if name == "" {
		return []string{defaultAddress}, nil
	}
	chosen, ok := contexts.Contexts[name]
	if !ok {
		return nil, unknownContext(name)
	}
	return withPorts(chosen.Bootstrap)
}

// splitList reads a list with commas, without its empty items.
func splitList(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

// withPorts completes addresses that name no port with Kafka's usual one.
func withPorts(list []string) ([]string, error) {
	out := make([]string, len(list))
	for i, address := range list {
		if address == "" {
			return nil, usagef("an address of a broker is empty; it has the form host:port")
		}
		_, port, err := net.SplitHostPort(address)
		var missing *net.AddrError
		if errors.As(err, &missing) && missing.Err == "missing port in address" {
			address = net.JoinHostPort(strings.Trim(address, "[]"), "9092")
		} else if n, numErr := strconv.ParseUint(port, 10, 16); err != nil || numErr != nil || n == 0 {
			return nil, usagef("%q is not the address of a broker; it has the form host:port", address)
		}
		out[i] = address
	}
	return out, nil
}

// connect returns a client for the cluster, once one of its brokers has answered. opts come on top of those that every
// command uses. The caller closes the client.
func (c *cli) connect(ctx context.Context, opts ...kgo.Opt) (*client, error) {
	addresses, err := c.addresses()
	if err != nil {
		return nil, err
	}
	if err := c.probeAny(ctx, addresses); err != nil {
		return nil, err
	}
	warn := &connectWarner{w: c.stderr}
	common := []kgo.Opt{
		kgo.SeedBrokers(addresses...),
		kgo.ClientID("moldau-cli"),
		kgo.SoftwareNameAndVersion("moldau", softwareVersion()),
		kgo.Dialer(dialNamed),
		kgo.DialTimeout(probePatience),
		kgo.RetryTimeout(c.timeout),
		kgo.DisableClientMetrics(),
		kgo.WithHooks(warn),
	}
	cl, err := kgo.NewClient(append(common, opts...)...)
	if err != nil {
		return nil, &usageError{err}
	}
	return &client{cl, kadm.NewClient(cl)}, nil
}

// probeAny returns nil as soon as one address turns out to be a broker, else what was found at each.
func (c *cli) probeAny(ctx context.Context, addresses []string) error {
	var errs []error
	for _, address := range addresses {
		err := probe(ctx, address, min(c.timeout, probePatience))
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// dialNamed is a dialer whose errors bear the address that was tried.
func dialNamed(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{KeepAlive: 30 * time.Second}
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, &dialError{address: address, err: err}
	}
	return conn, nil
}

// connectWarner tells the user once per broker that it cannot be reached while the client keeps trying, which it does
// silently. A broker that advertises an address that only works elsewhere is the usual reason.
type connectWarner struct {
	w  io.Writer
	mu struct {
		sync.Mutex
		told map[int32]bool
	}
}

// OnBrokerConnect is called by the client after every attempt to connect.
func (h *connectWarner) OnBrokerConnect(meta kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if meta.NodeID < 0 || errors.Is(err, context.Canceled) {
		return // one of several addresses to begin with
	}
	h.mu.Lock()
	told := h.mu.told[meta.NodeID]
	if h.mu.told == nil {
		h.mu.told = make(map[int32]bool)
	}
	h.mu.told[meta.NodeID] = err != nil
	h.mu.Unlock()
	if told == (err != nil) {
		return
	}
	who := fmt.Sprintf("broker %d, advertised as %s", meta.NodeID, net.JoinHostPort(meta.Host, strconv.Itoa(int(meta.Port))))
	if err != nil {
		fmt.Fprintf(h.w, "moldau: %s: %v; still trying\n", who, explainNet(err))
		return
	}
	fmt.Fprintf(h.w, "moldau: %s: connected again\n", who)
}

// topicDetails returns the metadata of the named topics, by name, or the error of the first that has one.
func (cl *client) topicDetails(ctx context.Context, names ...string) (kadm.TopicDetails, error) {
	details, err := cl.admin.ListTopicsWithInternal(ctx, names...)
	if err != nil {
		return nil, explain(err, "", "")
	}
	var errs []error
	for _, name := range names {
		d, ok := details[name]
		if !ok {
			return nil, fmt.Errorf("the broker's metadata answer has no topic %s", name)
		}
		if d.Err != nil {
			errs = append(errs, explain(d.Err, name, ""))
		}
	}
	return details, errors.Join(errs...)
}
