// Package access decides who may do what, as functions over principals, operations and resources.
package access

// Operation is what a request wants to do with a resource. The numbers are Kafka's (S-31).
type Operation int8

// The operations of Kafka's authorization model.
const (
	Read            Operation = 3
	Write           Operation = 4
	Create          Operation = 5
	Delete          Operation = 6
	Alter           Operation = 7
	Describe        Operation = 8
	ClusterAction   Operation = 9
	DescribeConfigs Operation = 10
	AlterConfigs    Operation = 11
	IdempotentWrite Operation = 12
	TwoPhaseCommit  Operation = 15
)

// Resource is the kind of thing that is protected. The numbers are Kafka's (S-30).
type Resource int8

// The resources of Kafka's authorization model.
const (
	Topic           Resource = 2
	Group           Resource = 3
	Cluster         Resource = 4
	TransactionalID Resource = 5
)

// ClusterName is the name of the one Cluster resource.
const ClusterName = "kafka-cluster"

// Action is one thing that somebody wants to do.
type Action struct {
	Principal string // "User:alice"
	Host      string // address without port
	Listener  string
	Operation Operation
	Resource  Resource
	Name      string
}

// Authorizer decides. Implementations are safe for concurrent use.
type Authorizer interface {
	Allowed(Action) bool
}

// Open allows everything: the answer while no authorizer is configured (S-33).
type Open struct{}

// Allowed is always true.
func (Open) Allowed(Action) bool { return true }

// Operations returns the bit set of the operations that exist on a kind of resource, as Metadata and DescribeCluster
// report it to a principal that may do them all (S-31, S-33).
func Operations(r Resource) int32 {
	var set int32
	for _, op := range operations[r] {
		set |= 1 << op
	}
	return set
}

var operations = map[Resource][]Operation{
	Topic:           {Read, Write, Create, Delete, Alter, Describe, DescribeConfigs, AlterConfigs},
	Group:           {Read, Delete, Describe, DescribeConfigs, AlterConfigs},
	Cluster:         {Create, ClusterAction, DescribeConfigs, AlterConfigs, IdempotentWrite, Alter, Describe},
	TransactionalID: {Describe, Write, TwoPhaseCommit},
}
