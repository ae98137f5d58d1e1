// Command kafka runs Apache Kafka in the foreground until it is interrupted, for comparison with ours.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/moldau/moldau/test/peers"
)

const usage = `kafka gets Apache Kafka ` + peers.Version + ` from Maven Central (once) and runs it until it is interrupted.
It prints one line when it serves: ready ADDRESS PID.

Usage:
  kafka -dir directory [-port number] [-heap size] [key=value ...]
  kafka tool name [argument ...]

Examples:
  go run ./peers/kafka -dir /tmp/kafka -port 9192 num.partitions=4
  go run ./peers/kafka tool kafka-topics --bootstrap-server 127.0.0.1:9192 --list

Flags:
`

func main() { os.Exit(run(os.Args[1:])) }

// run returns the exit code: 0, 1 failed, 2 usage.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(args) > 1 && args[0] == "tool" {
		return tool(ctx, args[1], args[2:])
	}
	flags := flag.NewFlagSet("kafka", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	var o peers.Options
	flags.StringVar(&o.Dir, "dir", "", "configuration, log and data; one that was used before goes on")
	flags.IntVar(&o.Port, "port", 0, "where to listen; 0 picks a free port")
	flags.StringVar(&o.Heap, "heap", "1g", "size of the Java heap")
	switch err := flags.Parse(args); {
	case err == flag.ErrHelp:
		return 0
	case err != nil:
		return 2
	case o.Dir == "":
		fmt.Fprintln(os.Stderr, "kafka: -dir must be given; see kafka --help")
		return 2
	}
	o.Properties = flags.Args()
	b, err := peers.Run(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "kafka:", err)
		return 1
	}
	fmt.Printf("ready %s %d\n", b.Address, b.PID)
	<-ctx.Done()
	b.Stop()
	return 0
}

// tool runs one of Kafka's command line tools and prints what it prints.
func tool(ctx context.Context, name string, args []string) int {
	out, errs, err := peers.Tool(ctx, os.Stdin, name, args...)
	fmt.Print(out)
	fmt.Fprint(os.Stderr, errs)
	switch {
	case err == nil:
		return 0
	case out == "" && errs == "":
		fmt.Fprintln(os.Stderr, "kafka:", err)
	}
	return 1
}
