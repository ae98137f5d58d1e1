package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kversion"
)

// clusterInfo is what `cluster info` shows.
type clusterInfo struct {
	ID              string          `json:"id"`
	Controller      int32           `json:"controller"`
	Brokers         []clusterBroker `json:"brokers"`
	Features        []feature       `json:"features"`
	Topics          int             `json:"topics"`
	Partitions      int             `json:"partitions"`
	UnderReplicated int             `json:"underReplicatedPartitions"`
	Offline         int             `json:"offlinePartitions"`
}

type clusterBroker struct {
	ID      int32  `json:"id"`
	Address string `json:"address"`
	Rack    string `json:"rack,omitempty"`
	// Speaks is the version of Apache Kafka whose protocol the broker speaks; where it has a part of it, how many APIs.
	Speaks string `json:"speaks"`
}

// feature is a finalized feature level of the cluster (KIP-584).
type feature struct {
	Name  string `json:"name"`
	Level int16  `json:"level"`
}

func newCluster(c *cli) *cobra.Command {
	return newGroup("cluster", "Look at the cluster", "  moldau cluster info", newClusterInfo(c))
}

func newClusterInfo(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "info",
		Short: "Show the cluster's id, brokers, features and health",
		Example: `  moldau cluster info
  moldau cluster info --bootstrap-server kafka1:9092 -o json`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			info, err := cl.clusterInfo(cmd.Context())
			if err != nil {
				return err
			}
			return c.print(info, info.write)
		},
	}
}

func (cl *client) clusterInfo(ctx context.Context) (clusterInfo, error) {
	meta, err := cl.admin.Metadata(ctx)
	if err != nil {
		return clusterInfo{}, explain(err, "", "")
	}
	info := clusterInfo{ID: meta.Cluster, Controller: meta.Controller, Brokers: []clusterBroker{}, Features: []feature{}}
	versions, err := cl.admin.ApiVersions(ctx)
	if err != nil && len(versions) == 0 {
		return clusterInfo{}, explain(err, "", "")
	}
	for _, b := range meta.Brokers {
		v := versions[b.NodeID]
		broker := clusterBroker{ID: b.NodeID, Address: net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port))), Speaks: speaks(v)}
		if b.Rack != nil {
			broker.Rack = *b.Rack
		}
		info.Brokers = append(info.Brokers, broker)
		if raw := v.Raw(); raw != nil && len(info.Features) == 0 {
			for _, f := range raw.FinalizedFeatures {
				info.Features = append(info.Features, feature{f.Name, f.MaxVersionLevel})
			}
		}
	}
	slices.SortFunc(info.Features, func(a, b feature) int { return strings.Compare(a.Name, b.Name) })
	for _, d := range meta.Topics {
		t := summarize(d)
		info.Topics++
		info.Partitions += t.Partitions
		info.UnderReplicated += t.UnderReplicated
		info.Offline += t.Offline
	}
	return info, nil
}

// speaks says what a broker's ApiVersions answer amounts to.
func speaks(v kadm.BrokerApiVersions) string {
	raw := v.Raw()
	if v.Err != nil || raw == nil {
		return "no answer"
	}
	guess := kversion.FromApiVersionsResponse(raw).VersionGuess()
	if strings.HasPrefix(guess, "v") || strings.HasPrefix(guess, "at least v") {
		return guess
	}
	// The guess asks for every API of a version, so a broker that has all but one counts as ancient.
	return plural(int64(len(raw.ApiKeys)), "API")
}

func (info clusterInfo) write(w io.Writer) {
	fields(w,
		"cluster", info.ID,
		"controller", strconv.Itoa(int(info.Controller)),
		"topics", fmt.Sprintf("%d with %s", info.Topics, plural(int64(info.Partitions), "partition")),
		"health", info.health(),
	)
	fmt.Fprintln(w)
	var rows [][]string
	for _, b := range info.Brokers {
		rack := b.Rack
		if rack == "" {
			rack = "-"
		}
		rows = append(rows, []string{strconv.Itoa(int(b.ID)), b.Address, rack, b.Speaks})
	}
	table(w, []string{"BROKER", "ADDRESS", "RACK", "SPEAKS"}, rows)
	if len(info.Features) == 0 {
		return
	}
	rows = nil
	for _, f := range info.Features {
		rows = append(rows, []string{f.Name, strconv.Itoa(int(f.Level))})
	}
	fmt.Fprintln(w)
	table(w, []string{"FEATURE", "LEVEL"}, rows)
}

func (info clusterInfo) health() string {
	if info.Offline == 0 && info.UnderReplicated == 0 {
		return "ok"
	}
	return fmt.Sprintf("%s offline, %d under-replicated (moldau topic list --under-replicated)",
		plural(int64(info.Offline), "partition"), info.UnderReplicated)
}
