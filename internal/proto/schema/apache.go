package schema

import (
	"errors"
	"fmt"

	"github.com/moldau/moldau"
)

// The types of metadata records that only Apache Kafka's controllers write.
const (
	DelegationTokenType       Type = 10
	ScramCredentialType       Type = 11
	ClientQuotaType           Type = 14
	AccessControlType         Type = 18
	RemoveAccessControlType   Type = 19
	zkMigrationStateType      Type = 21
	RemoveScramCredentialType Type = 22
	BeginTransactionType      Type = 23
	EndTransactionType        Type = 24
	AbortTransactionType      Type = 25
	RemoveDelegationTokenType Type = 26
	registerControllerType    Type = 27
	clearELRType              Type = 28
)

// foreign are the types beside kinds that DecodeApache knows. Decode refuses them: a metadata log of ours never has one, and
// a program that cannot hold an access control must not pass over it in silence.
var foreign = map[Type]func() Record{
	DelegationTokenType:       func() Record { return new(DelegationToken) },
	ScramCredentialType:       func() Record { return new(ScramCredential) },
	ClientQuotaType:           func() Record { return new(ClientQuota) },
	AccessControlType:         func() Record { return new(AccessControl) },
	RemoveAccessControlType:   func() Record { return new(RemoveAccessControl) },
	zkMigrationStateType:      func() Record { return new(NoOp) }, // of migrations that ended with Kafka 3.9
	RemoveScramCredentialType: func() Record { return new(RemoveScramCredential) },
	BeginTransactionType:      func() Record { return Boundary(BeginTransactionType) },
	EndTransactionType:        func() Record { return Boundary(EndTransactionType) },
	AbortTransactionType:      func() Record { return Boundary(AbortTransactionType) },
	RemoveDelegationTokenType: func() Record { return new(RemoveDelegationToken) },
	registerControllerType:    func() Record { return new(NoOp) }, // where a controller listens: told anew by each start
	clearELRType:              func() Record { return new(NoOp) }, // a single replica has no other to be eligible
}

// DecodeApache is Decode for a record that Apache Kafka wrote: it knows those too that are never written here. Of these only
// the first fields are read, as far as they have a field in the struct.
// Errors: as of Decode.
func DecodeApache(value []byte) (Record, error) {
	r, err := Decode(value)
	if !errors.Is(err, ErrVersion) {
		return r, err
	}
	c := codec{buf: value}
	frame, typ := c.uvarint(), Type(c.uvarint())
	c.uvarint() // the version; later ones only append
	blank, ok := foreign[typ]
	if c.failed || frame != frameVersion || !ok {
		return nil, err
	}
	r = blank()
	if _, ok := r.(*NoOp); !ok {
		r.fields(&c)
	}
	if c.failed {
		return nil, fmt.Errorf("%w: type %d of %d bytes ends early or has a bad length", ErrCorrupt, typ, len(value))
	}
	return r, nil
}

// Boundary begins, ends or aborts a transaction of the controller: the records between count all or not at all (KIP-868).
type Boundary Type

// Type says which boundary it is.
func (b Boundary) Type() Type { return Type(b) }

func (Boundary) fields(*codec) {}

// AccessControl allows or denies an operation. The numbers are those of the wire.
type AccessControl struct {
	ID           moldau.UUID
	ResourceType int8
	Resource     string
	Pattern      int8
	Principal    string
	Host         string
	Operation    int8
	Permission   int8 // 2 denies, 3 allows
}

// Type is AccessControlType.
func (*AccessControl) Type() Type { return AccessControlType }

func (r *AccessControl) fields(c *codec) {
	c.uuid(&r.ID)
	c.int8(&r.ResourceType)
	c.string(&r.Resource)
	c.int8(&r.Pattern)
	c.string(&r.Principal)
	c.string(&r.Host)
	c.int8(&r.Operation)
	c.int8(&r.Permission)
}

// RemoveAccessControl takes an AccessControl back.
type RemoveAccessControl struct{ ID moldau.UUID }

// Type is RemoveAccessControlType.
func (*RemoveAccessControl) Type() Type { return RemoveAccessControlType }

func (r *RemoveAccessControl) fields(c *codec) { c.uuid(&r.ID) }

// ScramCredential is a user's password, salted and hashed, without the hash.
type ScramCredential struct {
	User      string
	Mechanism int8 // 1 SCRAM-SHA-256, 2 SCRAM-SHA-512
}

// Type is ScramCredentialType.
func (*ScramCredential) Type() Type { return ScramCredentialType }

func (r *ScramCredential) fields(c *codec) {
	c.string(&r.User)
	c.int8(&r.Mechanism)
}

// RemoveScramCredential takes a ScramCredential back.
type RemoveScramCredential struct {
	User      string
	Mechanism int8
}

// Type is RemoveScramCredentialType.
func (*RemoveScramCredential) Type() Type { return RemoveScramCredentialType }

func (r *RemoveScramCredential) fields(c *codec) {
	c.string(&r.User)
	c.int8(&r.Mechanism)
}

// QuotaEntity is one part of whom a quota is for; a nil name is the default of its type.
type QuotaEntity struct {
	Type string
	Name *string
}

// ClientQuota sets a quota, without its value, or removes it.
type ClientQuota struct {
	Entity []QuotaEntity
	Key    string
	Remove bool
}

// Type is ClientQuotaType.
func (*ClientQuota) Type() Type { return ClientQuotaType }

func (r *ClientQuota) fields(c *codec) {
	array(c, &r.Entity, 3, func(e *QuotaEntity) {
		c.string(&e.Type)
		c.nullableString(&e.Name)
		c.tags()
	})
	c.string(&r.Key)
	var value int64 // the bits of a float64
	int64Field(c, &value)
	c.bool(&r.Remove)
}

// DelegationToken lets its bearer act as its owner.
type DelegationToken struct {
	Owner string
	ID    string
}

// Type is DelegationTokenType.
func (*DelegationToken) Type() Type { return DelegationTokenType }

func (r *DelegationToken) fields(c *codec) {
	c.string(&r.Owner)
	var requester string
	c.string(&requester)
	var renewers []string
	array(c, &renewers, 1, c.string)
	var times [3]int64 // issued, the latest that it can expire, expires
	for i := range times {
		int64Field(c, &times[i])
	}
	c.string(&r.ID)
}

// RemoveDelegationToken takes a DelegationToken back.
type RemoveDelegationToken struct{ ID string }

// Type is RemoveDelegationTokenType.
func (*RemoveDelegationToken) Type() Type { return RemoveDelegationTokenType }

func (r *RemoveDelegationToken) fields(c *codec) { c.string(&r.ID) }
