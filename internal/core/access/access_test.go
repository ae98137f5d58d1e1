package access

import "testing"

// TestOperations compares with the bit sets that Apache Kafka reports to a principal that may do everything (S-31).
func TestOperations(t *testing.T) {
	for resource, want := range map[Resource]int32{Topic: 3576, Group: 3400, Cluster: 8096, TransactionalID: 33040} {
		if got := Operations(resource); got != want {
			t.Errorf("resource %d: %d, want %d", resource, got, want)
		}
	}
	if Operations(99) != 0 {
		t.Error("a resource that does not exist has operations")
	}
}

func TestOpen(t *testing.T) {
	var a Authorizer = Open{}
	if !a.Allowed(Action{Principal: "User:ANONYMOUS", Operation: ClusterAction, Resource: Cluster, Name: ClusterName}) {
		t.Error("refused while no authorizer is configured (S-33)")
	}
}
