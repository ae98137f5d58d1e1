package config

import (
	"math"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestResolveTopic(t *testing.T) {
	got, err := ResolveTopic(Layers{})
	want := Topic{CleanupPolicy: CleanupDelete, CompressionType: "producer", CompressionGzipLevel: -1, CompressionLZ4Level: 9,
		CompressionZstdLevel: 3, DeleteRetentionMs: 86400000, FileDeleteDelayMs: 60000, FlushMessages: math.MaxInt64, FlushMs: math.MaxInt64,
		IndexIntervalBytes: 4096, MaxMessageBytes: 1048588, MaxCompactionLagMs: math.MaxInt64, MinCleanableDirtyRatio: 0.5, MinInSyncReplicas: 1,
		TimestampBeforeMaxMs: math.MaxInt64, TimestampAfterMaxMs: 3600000, RetentionMs: 604800000, RetentionBytes: -1, SegmentBytes: 1 << 30,
		SegmentMs: 604800000, SegmentIndexBytes: 10485760}
	if err != nil || got != want {
		t.Errorf("defaults:\n got %+v, %v\nwant %+v", got, err, want)
	}
	got, err = ResolveTopic(Layers{
		Resource: map[string]string{"cleanup.policy": "compact, delete", "message.timestamp.type": "LogAppendTime", "unclean.leader.election.enable": "True"},
		Default:  map[string]string{"log.roll.ms": "5"},
		Static:   map[string]string{"log.retention.hours": "2", "log.flush.scheduler.interval.ms": "9"},
	})
	if err != nil || got.CleanupPolicy != CleanupDelete|CleanupCompact || got.TimestampType != LogAppendTime || !got.UncleanLeaderElection ||
		got.SegmentMs != 5 || got.RetentionMs != 7200000 || got.FlushMs != 9 {
		t.Errorf("got %+v, %v", got, err)
	}
	got, err = ResolveTopic(Layers{Resource: map[string]string{"cleanup.policy": "", "segment.ms": "x"}})
	if err == nil || !strings.Contains(err.Error(), "segment.ms") || got.SegmentMs != 604800000 || got.CleanupPolicy != 0 {
		t.Errorf("got %+v, %v; want an error and the default", got, err)
	}
}

func TestCheckTopic(t *testing.T) {
	for _, c := range []struct {
		overrides map[string]string
		err       string
	}{
		{nil, ""},
		{map[string]string{"retention.ms": "1", "cleanup.policy": "compact"}, ""},
		{map[string]string{"nosuch": "1"}, `unknown topic key "nosuch"`},
		{map[string]string{"retention.s": "1"}, "did you mean retention.ms?"},
		{map[string]string{"log.retention.ms": "1"}, "unknown topic key"},
		{map[string]string{"retention.ms": "-2"}, "at least -1"},
		{map[string]string{"min.compaction.lag.ms": "10", "max.compaction.lag.ms": "5"}, "must not be larger"},
		{map[string]string{"remote.storage.enable": "true"}, "no remote storage"},
	} {
		err := CheckTopic(Layers{Resource: c.overrides})
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%v: %v; want %q", c.overrides, err, c.err)
		}
	}
}

func TestResolveBrokerDefaults(t *testing.T) {
	b, err := ResolveBroker(nil)
	if err != nil {
		t.Fatal(err)
	}
	local := []Listener{{"PLAINTEXT", "PLAINTEXT", "127.0.0.1", 9092}}
	if b.NodeID != 1 || !reflect.DeepEqual(b.Roles, []string{"broker", "controller"}) || !reflect.DeepEqual(b.Listeners, local) ||
		!reflect.DeepEqual(b.AdvertisedListeners, local) || len(b.ControllerListeners) != 0 || b.InterBrokerListener != "PLAINTEXT" ||
		b.HTTPListener != "127.0.0.1:9644" || !reflect.DeepEqual(b.LogDirs, []string{"./moldau-data"}) || b.MetadataLogDir != "./moldau-data" {
		t.Errorf("%+v", b)
	}
	if b.OffsetsTopic != (InternalTopic{NumPartitions: 50, SegmentBytes: 104857600}) || b.SocketRequestMaxBytes != 104857600 ||
		b.RequestMemoryBytes != 268435456 || b.ConnectionsMaxIdle != 10*time.Minute || b.MaxConnections != math.MaxInt32 ||
		b.HWCheckpointInterval != 5*time.Second || b.LogFormat != "text" || !b.AutoCreateTopics || b.DefaultReplicationFactor != 1 {
		t.Errorf("%+v", b)
	}
}

func TestResolveBrokerStock(t *testing.T) {
	file, err := os.Open("testdata/server.properties")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	list, err := ParseProperties("server.properties", file)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Merge(list, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := ResolveBroker(s.Static())
	if err != nil {
		t.Fatal(err)
	}
	if got := describe(b.Listeners) + " " + describe(b.ControllerListeners) + " " + describe(b.AdvertisedListeners) + " " + describe(b.AdvertisedControllers); got !=
		"PLAINTEXT://:9092 CONTROLLER://:9093 PLAINTEXT://localhost:9092 CONTROLLER://localhost:9093" {
		t.Errorf("listeners are %s", got)
	}
	if b.OffsetsTopic.ReplicationFactor != 1 || b.TransactionTopic.MinInSyncReplicas != 1 || b.LogDirs[0] != "/tmp/kraft-combined-logs" {
		t.Errorf("%+v", b)
	}
	if got := s.Warnings(); len(got) != 2 || !strings.Contains(got[0], "num.io.threads") || !strings.Contains(got[1], "num.network.threads") {
		t.Errorf("warnings: %q", got)
	}
}

func TestResolveBrokerCombinations(t *testing.T) {
	for _, c := range []struct{ static, err string }{
		{"process.roles=broker", "process.roles=broker is not supported yet"},
		{"process.roles=controller", "is not supported yet"},
		{"process.roles=", "process.roles is empty"},
		{"node.id=1 broker.id=2", "differ"},
		{"broker.id=2", ""},
		{"log.dirs=", "names no directory"},
		{"log.dir=x", ""},
		{"listeners=PLAINTEXT://:9092,CONTROLLER://:9093", "set controller.listener.names=CONTROLLER"},
		{"listeners=PLAINTEXT://:9092,CONTROLLER://:9093 controller.listener.names=CONTROLLER", ""},
		{"listeners=CONTROLLER://:9093 controller.listener.names=CONTROLLER", "listeners has none for clients"},
		{"controller.listener.names=CONTROLLER", "CONTROLLER is not among listeners"},
		{"listeners=", "listeners has none for clients"},
		{"listeners=PLAINTEXT://127.0.0.1:0", ""},
		{"listeners=PLAINTEXT://0.0.0.0:9092", "set advertised.listeners=PLAINTEXT://HOST:9092"},
		{"listeners=PLAINTEXT://0.0.0.0:9092 advertised.listeners=PLAINTEXT://h:9092", ""},
		{"listeners=PLAINTEXT://h:9092 advertised.listeners=PLAINTEXT://0.0.0.0:9092", "nobody can connect"},
		{"advertised.listeners=PLAINTEXT://h:0", "needs a port"},
		{"advertised.listeners=OTHER://h:1", "OTHER is not among listeners"},
		{"listeners=A://h:1,B://h:2 listener.security.protocol.map=A:PLAINTEXT,B:PLAINTEXT advertised.listeners=B://h:2", "listener between brokers"},
		{"listeners=SSL://h:1", "SSL://h:1 uses SSL, which is not supported yet (TLS and SASL come later)"},
		{"listeners=EXTERNAL://h:1", "add EXTERNAL:PLAINTEXT to listener.security.protocol.map"},
		{"listeners=external://h:1 listener.security.protocol.map=EXTERNAL:plaintext", ""},
		{"listeners=PLAINTEXT://a:1,PLAINTEXT://b:2", "stands twice"},
		{"listeners=A://h:1,B://h:1 listener.security.protocol.map=A:PLAINTEXT,B:PLAINTEXT", "share port 1"},
		{"listeners=A://127.0.0.1:1,B://[::1]:1 listener.security.protocol.map=A:PLAINTEXT,B:PLAINTEXT", ""},
		{"inter.broker.listener.name=X", "X is not among the listeners"},
		{"inter.broker.listener.name=PLAINTEXT security.inter.broker.protocol=PLAINTEXT", "both set"},
		{"security.inter.broker.protocol=SSL", "not supported yet"},
		{"authorizer.class.name=a.B", "would not be enforced"},
		{"controller.quorum.voters=1@localhost:9093", ""},
		{"controller.quorum.voters=1@a:1,2@b:1", "names node 2, and this is node 1"},
		{"controller.quorum.bootstrap.servers=a:1", "no controller listener"},
		{"listeners=PLAINTEXT://h:1,CONTROLLER://h:2 controller.listener.names=controller controller.quorum.bootstrap.servers=h:2", ""},
		{"listeners=PLAINTEXT://h:1,CONTROLLER://h:2 controller.listener.names=CONTROLLER controller.quorum.bootstrap.servers=o:3", "names o:3, and this node is CONTROLLER://h:2"},
		{"moldau.request.memory.bytes=1048576", "could never be read"},
		{"queued.max.request.bytes=1048576", ""},
		{"num.partitions=x", "must be a whole number"},
		{"default.replication.factor=40000", "must not be more than 32767"},
	} {
		static := map[string]string{}
		for pair := range strings.FieldsSeq(c.static) {
			key, value, _ := strings.Cut(pair, "=")
			static[key] = value
		}
		_, err := ResolveBroker(static)
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s:\n got %v\nwant %q", c.static, err, c.err)
		}
	}
}

func TestResolveBrokerValues(t *testing.T) {
	b, err := ResolveBrokerLayers(Layers{
		Broker:  map[string]string{"message.max.bytes": "3"},
		Default: map[string]string{"message.max.bytes": "2", "max.connections": "5"},
		Static: map[string]string{"message.max.bytes": "1", "broker.id": "4", "log.dir": "a,b", "queued.max.request.bytes": "1",
			"connections.max.idle.ms": "-1", "max.connections.per.ip.overrides": "::1:7,10.0.0.1:8", "producer.id.expiration.ms": "1000"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if b.MessageMaxBytes != 3 || b.MaxConnections != 5 || b.NodeID != 4 || b.MetadataLogDir != "a" || len(b.LogDirs) != 2 ||
		b.RequestMemoryBytes != int64(b.SocketRequestMaxBytes) || b.ConnectionsMaxIdle >= 0 || b.ProducerIDExpiration != time.Second ||
		!reflect.DeepEqual(b.MaxConnectionsPerIPByHost, map[string]int32{"::1": 7, "10.0.0.1": 8}) {
		t.Errorf("%+v", b)
	}
}
