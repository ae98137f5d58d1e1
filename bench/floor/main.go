// Command floor is the bar for what is possible: a broker that does nothing but the unavoidable. It reads frames, checks
// the CRC of each batch, writes it to a file with one write, answers, and serves fetches by sendfile.
//
// It speaks just enough of Kafka's protocol for clients that know what they want: ApiVersions, Metadata, CreateTopics,
// DeleteTopics, ListOffsets, InitProducerId, Produce and Fetch without sessions. Nothing is recovered, limited, checked
// or configurable beyond that, and every topic exists, with one partition unless it was created with more. Never keep
// data in it.
package main

import (
	"flag"
	"fmt"
	"net"
	"os"
)

const usage = `floor is a minimal Kafka-like server, the bar that benchmarks compare a real broker with.

Usage:
  floor [-listen host:port] -dir directory

Example:
  floor -listen 127.0.0.1:9093 -dir /tmp/floor

Flags:
`

func main() { os.Exit(run(os.Args[1:])) }

// run returns the exit code: 0, 1 failed, 2 usage.
func run(args []string) int {
	flags := flag.NewFlagSet("floor", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	listen := flags.String("listen", "127.0.0.1:9093", "where to listen")
	dir := flags.String("dir", "", "where to put the partitions' files; created when absent")
	switch err := flags.Parse(args); {
	case err == flag.ErrHelp:
		return 0
	case err != nil:
		return 2
	case *dir == "" || flags.NArg() > 0:
		fmt.Fprintln(os.Stderr, "floor: takes flags only, and -dir must be given; see floor --help")
		return 2
	}
	fmt.Fprintln(os.Stderr, "floor:", serve(*listen, *dir))
	return 1
}

// serve returns only with an error.
func serve(address, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	return newServer(dir, l).accept()
}
