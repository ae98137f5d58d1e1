package status

import (
	"runtime"
	"runtime/metrics"
	"sync"
	"time"
)

// Process is what the operating system tells of this process. A figure that it does not tell is negative.
type Process struct {
	CPU           time.Duration // user and system
	ResidentBytes int64
	VirtualBytes  int64
	OpenFiles     int64
	OpenFilesMax  int64
}

// unknownProcess is a Process of which nothing is known.
func unknownProcess() Process { return Process{-1, -1, -1, -1, -1} }

// idleShare is the part of the processors' time that this process has not used of late, from 0 to 1. Apache Kafka tells the
// idle shares of its two thread pools, and dashboards and alerts look at them for how near a broker is to its limit.
// Here a request has no pool to wait for: the processors are what it can run out of.
type idleShare struct {
	mu    sync.Mutex
	at    time.Time
	cpu   time.Duration
	share float64
}

// idleWindow is the least time that a share is measured over; a scrape that comes sooner is told the last one.
const idleWindow = time.Second

// measure returns the share since the last measurement, or since the start of the process.
func (i *idleShare) measure(now, started time.Time, cpu time.Duration, processors int) float64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.at.IsZero() {
		i.at, i.share = started, 1
	}
	if d := now.Sub(i.at); d >= idleWindow {
		i.share = min(max(1-float64(cpu-i.cpu)/float64(d)/float64(processors), 0), 1)
		i.at, i.cpu = now, cpu
	}
	return i.share
}

// idle writes the share under the names of both of Kafka's pools (O-22).
func (s *scrape) idle(opt Options, i *idleShare) {
	cpu := opt.Process().CPU
	if cpu < 0 || opt.Now == nil || opt.StartedAt.IsZero() {
		return
	}
	share := i.measure(opt.Now(), opt.StartedAt, cpu, runtime.GOMAXPROCS(0))
	const help = "The part of the processors' time that the broker has not used since the last scrape"
	s.Gauge("kafka_network_socketserver_networkprocessoravgidle_percent", help, share)
	s.Gauge("kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent", help, share)
}

// goMetrics are figures of the Go runtime that are read without stopping it.
var goMetrics = [...]struct {
	name, help, runtime string
	counter             bool
}{
	{"go_goroutines", "Goroutines", "/sched/goroutines:goroutines", false},
	{"go_memstats_heap_objects_bytes", "Bytes of live objects and of dead ones that are not swept yet", "/memory/classes/heap/objects:bytes", false},
	{"go_memstats_sys_bytes", "Bytes of memory taken from the system", "/memory/classes/total:bytes", false},
	{"go_memstats_heap_released_bytes", "Bytes of memory given back to the system", "/memory/classes/heap/released:bytes", false},
	{"go_gc_heap_goal_bytes", "Heap size at which the next collection ends", "/gc/heap/goal:bytes", false},
	{"go_memstats_alloc_bytes_total", "Bytes allocated", "/gc/heap/allocs:bytes", true},
	{"go_gc_cycles_total", "Collections completed", "/gc/cycles/total:gc-cycles", true},
}

// process writes the figures of the process and of the Go runtime under the names that Prometheus' own clients use.
func (s *scrape) process(opt Options) {
	p := opt.Process()
	for _, f := range [...]struct {
		name, help string
		value      float64
	}{
		{"process_resident_memory_bytes", "Memory of the process in RAM", float64(p.ResidentBytes)},
		{"process_virtual_memory_bytes", "Memory that the process has mapped", float64(p.VirtualBytes)},
		{"process_open_fds", "Files and sockets that are open", float64(p.OpenFiles)},
		{"process_max_fds", "Files and sockets that may be open", float64(p.OpenFilesMax)},
	} {
		if f.value >= 0 {
			s.Gauge(f.name, f.help, f.value)
		}
	}
	if p.CPU >= 0 {
		s.Seconds("process_cpu_seconds_total", "CPU time in user and system mode", p.CPU)
	}
	if !opt.StartedAt.IsZero() {
		s.Gauge("process_start_time_seconds", "When the process started, in seconds since 1970", float64(opt.StartedAt.UnixMilli())/1000)
		if opt.Now != nil {
			s.Gauge("moldau_uptime_seconds", "Time since the start", opt.Now().Sub(opt.StartedAt).Round(time.Millisecond).Seconds())
		}
	}
	samples := make([]metrics.Sample, len(goMetrics))
	for i, m := range goMetrics {
		samples[i].Name = m.runtime
	}
	metrics.Read(samples)
	for i, m := range goMetrics {
		if samples[i].Value.Kind() != metrics.KindUint64 {
			continue // this version of Go has it no more
		}
		if v := samples[i].Value.Uint64(); m.counter {
			s.Counter(m.name, m.help, int64(v))
		} else {
			s.Gauge(m.name, m.help, float64(v))
		}
	}
	s.gauge("go_info", "The version of Go that built the program", 1, "version", runtime.Version())
	s.gauge("moldau_build_info", "The version of the program", 1, "version", opt.Version)
}
