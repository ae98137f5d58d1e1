// Command moldau is the whole of Moldau in one binary: the broker, and the tools for any broker that speaks Kafka's
// protocol.
//
// A file per noun; every command is a constructor newNoun(*cli) that root.go lists. Only this package reads the
// program's arguments and its environment.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second after the first signal, the next one has its default effect again: a command that does not end can be ended. Some
	// senders (timeout of coreutils) send one signal twice at once.
	context.AfterFunc(ctx, func() { time.AfterFunc(time.Second, stop) })
	code := run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
