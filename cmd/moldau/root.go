package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// Exit codes: what was asked for is done, it failed, it was not understood.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// environ is the environment as os.Environ gives it: key=value, the last of a key counts.
type environ []string

// get returns the value of key, or "" where it is not set.
func (e environ) get(key string) string {
	for _, kv := range slices.Backward(e) {
		if k, v, ok := strings.Cut(kv, "="); ok && k == key {
			return v
		}
	}
	return ""
}

// cli is one invocation of the program: what surrounds it, and the global flags.
type cli struct {
	env    environ
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	now    func() time.Time

	program string // how the user may start this program again

	bootstrap []string      // --bootstrap-server
	context   string        // --context
	output    string        // --output: text or json
	timeout   time.Duration // --timeout: how long one step may take before it is given up
}

// run executes one command line and returns the exit code. Cancelling ctx is what an interrupt from the keyboard does.
func run(ctx context.Context, args []string, env []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c := &cli{env: env, stdin: stdin, stdout: stdout, stderr: stderr, now: time.Now, program: programName()}
	root := newRoot(c)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	c.complete(root) // after SetOut: the command that prints completions keeps the output that it finds
	started := noteStart(root)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	var usage *usageError
	if !*started || errors.As(err, &usage) {
		fmt.Fprintf(stderr, "%s: %v\nRun '%s --help' for usage.\n", cmd.CommandPath(), err, cmd.CommandPath())
		return exitUsage
	}
	printError(stderr, err)
	return exitFailed
}

// newRoot is the table of contents of the command line.
func newRoot(c *cli) *cobra.Command {
	root := &cobra.Command{
		Use:   "moldau",
		Short: "A streaming broker for every Kafka client, and its tools",
		Long: `Moldau is a streaming broker that every Apache Kafka client can use, in one binary
with the tools to work with it. The tools work with any Kafka-compatible broker.`,
		Example: `  moldau topic create orders -p 6
  echo 'hello' | moldau produce orders
  moldau consume orders --from start`,
		Version:       readVersion().Version,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("bootstrap-server") && len(c.bootstrap) == 0 {
				return usagef("--bootstrap-server is empty; it has the form host:port,…")
			}
			return nil
		},
	}
	root.SetVersionTemplate("moldau {{.Version}}\n")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return plainFlagError(err) })
	flags := root.PersistentFlags()
	flags.SortFlags = false
	flags.StringSliceVarP(&c.bootstrap, "bootstrap-server", "b", nil,
		"brokers to begin with, as host:port,… (env MOLDAU_BOOTSTRAP; default 127.0.0.1:9092)")
	flags.StringVar(&c.context, "context", "", "named context to take the brokers from (env MOLDAU_CONTEXT; see: moldau context)")
	flags.VarP(newChoice(&c.output, "text", "text", "json"), "output", "o", "form of the output: text or json")
	flags.DurationVar(&c.timeout, "timeout", 15*time.Second, "how long to try before a step is given up")
	root.AddCommand(
		newDemo(c),
		newServe(c),
		newImport(c),
		newBackup(c),
		newTopic(c),
		newConsumerGroup(c),
		newTransaction(c),
		newProduce(c),
		newConsume(c),
		newCluster(c),
		newConfig(c),
		newLog(c),
		newContext(c),
		newBench(c),
		newVersion(c),
	)
	return root
}

// newGroup is a command that only has commands under it: alone it prints its help, with a word it does not know it says so.
func newGroup(use, short, example string, sub ...*cobra.Command) *cobra.Command {
	group := &cobra.Command{
		Use:     use,
		Short:   short,
		Example: example,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			near := cmd.SuggestionsFor(args[0])
			if len(near) == 0 {
				return usagef("%q is no command", args[0])
			}
			return usagef("%q is no command; did you mean %s?", args[0], strings.Join(near, " or "))
		},
		SuggestionsMinimumDistance: 2,
	}
	group.AddCommand(sub...)
	return group
}

// programName is how the user started this program: the path as it was typed, or the go command that built it.
func programName() string {
	exe, err := os.Executable()
	if err != nil {
		exe = ""
	}
	return nameOfProgram(exe, os.Args[0])
}

func nameOfProgram(executable, typed string) string {
	if strings.Contains(filepath.ToSlash(executable), "/go-build") {
		return "go run ./cmd/moldau"
	}
	return typed
}

// complete adds what the shell may complete, and the commands that cobra would add by itself. Its own ones take a word that they do not know for a
// wish for help.
func (c *cli) complete(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	c.completeFlags(root)
	if completion, _, err := root.Find([]string{"completion"}); err == nil && completion != root {
		group := newGroup("", "", "")
		completion.Args, completion.RunE = nil, group.RunE
	}
	root.SetHelpCommand(&cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Print the help of a command",
		Example: "  moldau help topic create",
		RunE: func(_ *cobra.Command, args []string) error {
			named, rest, err := root.Find(args)
			if err != nil || named.HasSubCommands() && len(rest) > 0 {
				return usagef("%q is no command", strings.Join(args, " "))
			}
			named.InitDefaultHelpFlag()
			return named.Help()
		},
	})
}

// plainFlagError takes the name of a function of Go's library out of the error of a flag's value.
func plainFlagError(err error) error {
	what, cause, found := strings.Cut(err.Error(), ": strconv.")
	switch {
	case !found:
		return err
	case strings.HasSuffix(cause, "out of range"):
		return fmt.Errorf("%s: it is too large or too small", what)
	case strings.HasPrefix(cause, "ParseBool"):
		return fmt.Errorf("%s: it is true or false", what)
	}
	return fmt.Errorf("%s: it is not a number", what)
}

// many is the max of takes for a command that takes any number of words.
const many = math.MaxInt

// takes is the check of a command that takes min to max words.
func takes(min, max int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		_, words, _ := strings.Cut(cmd.Use, " ")
		switch {
		case len(args) < min:
			return fmt.Errorf("something is missing: it takes %s", words)
		case len(args) > max && max == 0:
			return fmt.Errorf("%q is too much: it takes flags only", args[0])
		case len(args) > max:
			return fmt.Errorf("%q is too much: it takes %s", args[max], words)
		}
		return nil
	}
}

// noteStart makes every command of the tree note when its own work starts. An error before that moment is one of
// usage: cobra gives errors of flags, arguments and unknown commands no type of their own.
func noteStart(cmd *cobra.Command) *bool {
	started := new(bool)
	var wrap func(*cobra.Command)
	wrap = func(cmd *cobra.Command) {
		if inner := cmd.RunE; inner != nil {
			cmd.RunE = func(cmd *cobra.Command, args []string) error {
				*started = true
				return inner(cmd, args)
			}
		}
		for _, sub := range cmd.Commands() {
			wrap(sub)
		}
	}
	wrap(cmd)
	return started
}

// choice is the value of a flag that takes one of a few words.
type choice struct {
	value   *string
	allowed []string
}

func newChoice(value *string, def string, allowed ...string) *choice {
	*value = def
	return &choice{value, allowed}
}

func (c *choice) String() string { return *c.value }
func (c *choice) Type() string   { return strings.Join(c.allowed, "|") }

func (c *choice) Set(s string) error {
	if !slices.Contains(c.allowed, s) {
		return fmt.Errorf("it is one of %s", strings.Join(c.allowed, ", "))
	}
	*c.value = s
	return nil
}
