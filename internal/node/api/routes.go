package api

import (
	"fmt"

	"github.com/moldau/moldau/internal/node/server"
	"github.com/moldau/moldau/internal/proto/wire"
)

const (
	onBroker     = server.ForBrokers
	onController = server.ForControllers
	onBoth       = server.ForBrokers | server.ForControllers
)

// Route is how one key is served.
type Route struct {
	Key wire.Key
	// Advertised is the range of versions that ApiVersions tells. Versions below ServedFrom are refused all the same:
	// Produce tells 0 for the sake of old librdkafka.
	Advertised wire.Range
	ServedFrom int16
	On         server.Kind
	// Overlap: the next request may begin before this one is answered (W-5).
	Overlap bool
	handle  handler
}

// routes is the protocol's table of contents: what is served, in which versions, where. ApiVersions is derived from it.
var routes = [...]Route{
	{wire.Produce, wire.Range{Min: 0, Max: 13}, 3, onBroker, true, (*Broker).produce},
	{wire.Fetch, wire.Range{Min: 4, Max: 18}, 4, onBroker, true, (*Broker).fetch},
	{wire.ListOffsets, wire.Range{Min: 1, Max: 11}, 1, onBroker, false, deferred(listOffsets)},
	{wire.Metadata, wire.Range{Min: 0, Max: 13}, 0, onBroker, false, deferred(describeMetadata)},
	{wire.OffsetCommit, wire.Range{Min: 2, Max: 10}, 2, onBroker, false, deferred(offsetCommit)},
	{wire.OffsetFetch, wire.Range{Min: 1, Max: 10}, 1, onBroker, false, deferred(offsetFetch)},
	{wire.FindCoordinator, wire.Range{Min: 0, Max: 6}, 0, onBroker, false, deferred(findCoordinator)},
	{wire.JoinGroup, wire.Range{Min: 0, Max: 9}, 0, onBroker, false, deferred(joinGroup)},
	{wire.Heartbeat, wire.Range{Min: 0, Max: 4}, 0, onBroker, false, deferred(heartbeat)},
	{wire.LeaveGroup, wire.Range{Min: 0, Max: 5}, 0, onBroker, false, deferred(leaveGroup)},
	{wire.SyncGroup, wire.Range{Min: 0, Max: 5}, 0, onBroker, false, deferred(syncGroup)},
	{wire.DescribeGroups, wire.Range{Min: 0, Max: 6}, 0, onBroker, false, deferred(describeGroups)},
	{wire.ListGroups, wire.Range{Min: 0, Max: 5}, 0, onBroker, false, deferred(listGroups)},
	{wire.SaslHandshake, wire.Range{Min: 0, Max: 1}, 0, onBoth, false, typed(saslHandshake)},
	{wire.ApiVersions, wire.Range{Min: 0, Max: 4}, 0, onBoth, false, apiVersions},
	{wire.CreateTopics, wire.Range{Min: 2, Max: 7}, 2, onBoth, false, deferred(createTopics)},
	{wire.DeleteTopics, wire.Range{Min: 1, Max: 6}, 1, onBoth, false, deferred(deleteTopics)},
	{wire.DeleteRecords, wire.Range{Min: 0, Max: 2}, 0, onBroker, false, deferred(deleteRecords)},
	{wire.InitProducerID, wire.Range{Min: 0, Max: 5}, 0, onBroker, false, deferred(initProducerID)},
	{wire.OffsetForLeaderEpoch, wire.Range{Min: 2, Max: 4}, 2, onBroker, false, typed(offsetForLeaderEpoch)},
	{wire.AddPartitionsToTxn, wire.Range{Min: 0, Max: 5}, 0, onBroker, false, deferred(addPartitionsToTxn)},
	{wire.AddOffsetsToTxn, wire.Range{Min: 0, Max: 4}, 0, onBroker, false, deferred(addOffsetsToTxn)},
	{wire.EndTxn, wire.Range{Min: 0, Max: 5}, 0, onBroker, false, deferred(endTxn)},
	{wire.WriteTxnMarkers, wire.Range{Min: 1, Max: 2}, 1, onBroker, false, deferred(writeTxnMarkers)},
	{wire.TxnOffsetCommit, wire.Range{Min: 0, Max: 5}, 0, onBroker, false, deferred(txnOffsetCommit)},
	{wire.DescribeAcls, wire.Range{Min: 1, Max: 3}, 1, onBoth, false, typed(describeACLs)},
	{wire.DescribeConfigs, wire.Range{Min: 1, Max: 4}, 1, onBoth, false, typed(describeConfigs)},
	{wire.AlterConfigs, wire.Range{Min: 0, Max: 2}, 0, onBoth, false, deferred(alterConfigs)},
	{wire.AlterReplicaLogDirs, wire.Range{Min: 1, Max: 2}, 1, onBroker, false, typed(alterReplicaLogDirs)},
	{wire.DescribeLogDirs, wire.Range{Min: 1, Max: 5}, 1, onBroker, false, typed(describeLogDirs)},
	{wire.CreatePartitions, wire.Range{Min: 0, Max: 3}, 0, onBoth, false, deferred(createPartitions)},
	{wire.DescribeDelegationToken, wire.Range{Min: 1, Max: 3}, 1, onBoth, false, typed(describeDelegationToken)},
	{wire.DeleteGroups, wire.Range{Min: 0, Max: 2}, 0, onBroker, false, deferred(deleteGroups)},
	{wire.ElectLeaders, wire.Range{Min: 0, Max: 2}, 0, onBoth, false, deferred(electLeaders)},
	{wire.IncrementalAlterConfigs, wire.Range{Min: 0, Max: 1}, 0, onBoth, false, deferred(incrementalAlterConfigs)},
	{wire.ListPartitionReassignments, wire.Range{Min: 0, Max: 0}, 0, onBoth, false, typed(listPartitionReassignments)},
	{wire.OffsetDelete, wire.Range{Min: 0, Max: 0}, 0, onBroker, false, deferred(offsetDelete)},
	{wire.DescribeClientQuotas, wire.Range{Min: 0, Max: 1}, 0, onBroker, false, typed(describeClientQuotas)},
	{wire.DescribeUserScramCredentials, wire.Range{Min: 0, Max: 0}, 0, onBroker, false, typed(describeUserScramCredentials)},
	{wire.DescribeQuorum, wire.Range{Min: 0, Max: 2}, 0, onBoth, false, typed(describeQuorum)},
	{wire.UpdateFeatures, wire.Range{Min: 0, Max: 2}, 0, onBoth, false, deferred(updateFeatures)},
	{wire.DescribeCluster, wire.Range{Min: 0, Max: 2}, 0, onBoth, false, typed(describeCluster)},
	{wire.DescribeProducers, wire.Range{Min: 0, Max: 0}, 0, onBroker, false, typed(describeProducers)},
	{wire.DescribeTransactions, wire.Range{Min: 0, Max: 0}, 0, onBroker, false, deferred(describeTransactions)},
	{wire.ListTransactions, wire.Range{Min: 0, Max: 2}, 0, onBroker, false, deferred(listTransactions)},
	{wire.ListConfigResources, wire.Range{Min: 0, Max: 1}, 0, onBroker, false, typed(listConfigResources)},
	{wire.DescribeTopicPartitions, wire.Range{Min: 0, Max: 0}, 0, onBroker, false, typed(describeTopicPartitions)},
}

// Routes returns the routes by rising key.
func Routes() []Route { return routes[:] }

// keyEnd is above every key that is served.
const keyEnd = 128

// bind ties the routes to b, by key. Handlers come to the table through b: it refers to them.
func (b *Broker) bind(routes []Route) {
	b.routes = routes
	for i := range routes {
		r := &routes[i]
		b.byKey[r.Key] = r
		b.served[r.Key] = server.Route{Handle: func(c *server.Call) server.Pending { return r.handle(b, c) }, Overlap: r.Overlap}
	}
}

// Route implements server.Router (W-4).
func (b *Broker) Route(key wire.Key, version int16, kind server.Kind) (server.Route, error) {
	if key < 0 || key >= keyEnd || b.byKey[key] == nil {
		return server.Route{}, fmt.Errorf("request %s (key %d) is not served", key, int16(key))
	}
	r := b.byKey[key]
	if r.On&kind == 0 {
		return server.Route{}, fmt.Errorf("request %s is not served on this kind of listener", key)
	}
	// ApiVersions answers a version that it does not know with those that it does (W-30).
	if (version < r.ServedFrom || version > r.Advertised.Max) && key != wire.ApiVersions {
		return server.Route{}, fmt.Errorf("%s version %d is not served, versions %d to %d are", key, version, r.ServedFrom, r.Advertised.Max)
	}
	return b.served[key], nil
}
