// Command pageviews writes a web access log in the combined format, made from a seed.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/moldau/moldau/examples/pageviews"
)

const usage = `pageviews writes a web access log in the combined format: the same seed, the same log.

Usage:
  pageviews [-n lines] [-seed number] [-o file]

Examples:
  pageviews -n 1000000 -o access.log
  pageviews -n 5 -seed 42
  pageviews -n 100000 | awk '{n[$7]++} END{for (p in n) print n[p], p}' | sort -rn | head

Flags:
`

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run returns the exit code: 0, 1 failed, 2 usage.
func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("pageviews", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	lines := flags.Int("n", 1_000_000, "how many lines")
	seed := flags.Uint64("seed", 1, "what the log is made from")
	path := flags.String("o", "-", "the file to write, - for standard output")
	for _, a := range args {
		if a == "-h" || a == "-help" || a == "--help" {
			flags.SetOutput(stdout)
		}
	}
	switch err := flags.Parse(args); {
	case err == flag.ErrHelp:
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0 || *lines < 0:
		fmt.Fprintln(stderr, "pageviews: takes flags only, and -n of 0 or more; see pageviews --help")
		return 2
	}
	if err := write(*path, stdout, *seed, *lines); err != nil {
		fmt.Fprintln(stderr, "pageviews:", err)
		return 1
	}
	return 0
}

func write(path string, stdout io.Writer, seed uint64, lines int) error {
	if path == "-" {
		return pageviews.Generate(stdout, seed, lines)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := pageviews.Generate(f, seed, lines); err != nil {
		_ = f.Close() // the first error is the one to tell
		return err
	}
	return f.Close()
}
