package peers

import (
	"strings"
	"testing"
)

func TestPomHasTheVersion(t *testing.T) {
	if !strings.Contains(string(pom), "<kafka.version>"+Version+"</kafka.version>") {
		t.Errorf("pom.xml is not for version %s", Version)
	}
}

func TestStartAndTools(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Apache Kafka")
	}
	b := Start(t, t.TempDir(), "num.partitions=3")
	if out := RunTool(t, "kafka-topics", "--bootstrap-server", b.Address, "--create", "--topic", "t"); !strings.Contains(out, "Created topic t.") {
		t.Errorf("create topic: %s", out)
	}
	if out := RunTool(t, "kafka-get-offsets", "--bootstrap-server", b.Address); strings.Count(out, "t:") != 3 {
		t.Errorf("offsets: %s", out)
	}
	b.Kill()
	if _, err := Run(t.Context(), Options{Dir: t.TempDir(), Properties: []string{"log.dirs="}}); err == nil {
		t.Error("a broker without log directories has started")
	}
}
