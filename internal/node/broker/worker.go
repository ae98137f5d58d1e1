package broker

import (
	"hash/fnv"
	"sync"

	"github.com/moldau/moldau"
	"github.com/moldau/moldau/internal/node/partition"
)

// do runs a job for a partition after those that were given for it before.
func (d *logDir) do(tp moldau.TopicPartition, job func()) { d.workerOf(tp).add(task{run: job}) }

func (d *logDir) workerOf(tp moldau.TopicPartition) *worker {
	h := fnv.New32a()
	_, _ = h.Write([]byte(tp.String())) // never fails
	return d.workers[int(h.Sum32()%uint32(len(d.workers)))]
}

// worker runs tasks one after another. Its queue is as long as there are partitions to open; who adds never waits.
type worker struct {
	create func([]*partition.Partition)
	mu     sync.Mutex
	tasks  []task
	wake   chan struct{}
}

// task is something to run, or a partition to make the files of; neither ends the worker.
type task struct {
	run    func()
	create *partition.Partition
}

func (w *worker) add(t task) {
	w.mu.Lock()
	w.tasks = append(w.tasks, t)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *worker) run() {
	for range w.wake {
		w.mu.Lock()
		tasks := w.tasks
		w.tasks = nil
		w.mu.Unlock()
		for len(tasks) > 0 {
			var fresh []*partition.Partition // those that wait in a row share their syncs
			for len(fresh) < len(tasks) && tasks[len(fresh)].create != nil {
				fresh = append(fresh, tasks[len(fresh)].create)
			}
			switch {
			case len(fresh) > 0:
				w.create(fresh)
				tasks = tasks[len(fresh):]
				continue
			case tasks[0].run == nil:
				return
			}
			tasks[0].run()
			tasks = tasks[1:]
		}
	}
}
