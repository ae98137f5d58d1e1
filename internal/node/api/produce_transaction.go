package api

import (
	"time"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/core/metadata"
	"github.com/moldau/moldau/internal/core/rsm"
	"github.com/moldau/moldau/internal/core/txn"
	"github.com/moldau/moldau/internal/node/partition"
	"github.com/moldau/moldau/internal/node/server"
	"github.com/moldau/moldau/internal/proto/record"
)

// implicitJoin is the version of Produce from which on partitions join a transaction with their first batch; clients before that
// have said so in AddPartitionsToTxn (T-7).
const implicitJoin = 12

// joiningBatch is a batch that is the first of its transaction on a partition.
type joiningBatch struct {
	index int // of its result
	topic *metadata.Topic
	part  *partition.Partition
	batch record.Batch
	guard partition.Guard
}

// joinTransaction has the partitions join the transaction whose first batches came, or sees that they have, and appends the
// batches. It waits for the coordinator: what the connection sends next comes after.
func (p *production) joinTransaction(c *server.Call) {
	if len(p.joining) == 0 {
		return
	}
	first := p.joining[0].batch // all are of one producer
	add := &txn.Add{
		ID: string(p.txnID), Producer: rsm.Producer{ID: first.ProducerID(), Epoch: first.ProducerEpoch()},
		VerifyOnly: p.version < implicitJoin, Version: bumping,
	}
	for _, j := range p.joining {
		add.Partitions = append(add.Partitions, j.part.Name)
	}
	codes, code := p.askToJoin(c, add)
	for i, j := range p.joining {
		if code == moldau.None {
			p.settleJoin(j, codes[i])
		} else {
			p.settleJoin(j, code)
		}
	}
	clear(p.joining) // the batches are parts of a frame that is released
	p.joining = p.joining[:0]
}

// askToJoin asks the coordinator, and waits as long as the client does.
func (p *production) askToJoin(c *server.Call, add *txn.Add) ([]moldau.Code, moldau.Code) {
	late := make(chan struct{})
	timer := p.b.Env.Clock.AfterFunc(p.deadline.Sub(p.b.Env.Clock.Now()), func() { close(late) })
	defer timer.Stop()
	return awaitTransaction[[]moldau.Code](p.b, add.ID, func(s *txn.Transactions, now time.Time, to rsm.Ticket) txn.Output {
		return s.AddPartitions(now, to, add)
	}, c.Waits(), late)
}

// settleJoin appends a batch whose partition has joined, or refuses it. What concerns the coordinator alone is a reason to send the
// batch again later, and not one to look for another leader (L-24).
func (p *production) settleJoin(j joiningBatch, code moldau.Code) {
	switch code {
	case moldau.None:
		p.appendBatch(j.index, j.topic, j.part, j.batch, j.guard)
		return
	case moldau.ProducerFenced:
		code = moldau.InvalidProducerEpoch // L-22
	case moldau.TransactionAbortable:
		code = abortableCode(code, p.version, 11)
	case moldau.InvalidProducerIDMapping, moldau.InvalidTxnState, moldau.InvalidRequest:
	default:
		j.part.Stats().Failed(moldau.NotEnoughReplicas)
		p.refuse(&p.results[j.index], j.topic, moldau.NotEnoughReplicas, "the coordinator of the transaction cannot be asked: "+code.String())
		return
	}
	j.part.Stats().Failed(code)
	p.refuse(&p.results[j.index], j.topic, code, "the partition is not part of the transaction: "+code.String())
}
