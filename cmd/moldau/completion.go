package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/moldau/moldau/internal/proto/config"
)

// completion is a function that offers words to the shell.
type completion = func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective)

// choiceFlags are the flags that take one of a few words.
var choiceFlags = [...]string{"output", "acks", "compression", "payload", "isolation"}

// completeFlags has the shell complete the values of flags wherever the values are known.
func (c *cli) completeFlags(root *cobra.Command) {
	offer := func(cmd *cobra.Command, flag string, values completion) {
		_ = cmd.RegisterFlagCompletionFunc(flag, values) // it fails for a flag that there is not
	}
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		for _, name := range choiceFlags {
			if f := cmd.LocalFlags().Lookup(name); f != nil {
				offer(cmd, name, cobra.FixedCompletions(f.Value.(*choice).allowed, cobra.ShellCompDirectiveNoFileComp))
			}
		}
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(root)
	offer(root, "context", c.completeContexts)
	for path, flags := range map[string]map[string]completion{
		"topic create":    {"config": keyCompletion(config.ScopeTopic, "=")},
		"topic alter":     {"config": keyCompletion(config.ScopeTopic, "="), "delete-config": keyCompletion(config.ScopeTopic, "")},
		"config describe": {"key": completeKeyOf("")},
		"config set":      {"delete": completeKeyOf("")},
		"serve":           {"set": keyCompletion(config.ScopeBroker, "=")},
	} {
		if cmd, _, err := root.Find(strings.Fields(path)); err == nil {
			for flag, values := range flags {
				offer(cmd, flag, values)
			}
		}
	}
}

// keyCompletion offers the keys of a scope, each with what follows it.
func keyCompletion(scope config.Scope, suffix string) completion {
	directive := cobra.ShellCompDirectiveNoFileComp
	if suffix != "" {
		directive |= cobra.ShellCompDirectiveNoSpace
	}
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var words []string
		for _, k := range config.Keys(scope) {
			words = append(words, k.Name+suffix)
		}
		return words, directive
	}
}

// completeKeyOf offers the keys of the thing that the words of the command line name first.
func completeKeyOf(suffix string) completion {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			if scope, ok := scopes[resourceTypes[args[0]]]; ok {
				return keyCompletion(scope, suffix)(cmd, args, word)
			}
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeResource offers TYPE, and the names of topics.
func (c *cli) completeResource(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	switch {
	case len(args) == 0:
		return resourceWords(), cobra.ShellCompDirectiveNoFileComp
	case len(args) == 1 && args[0] == "topic":
		return c.completeTopics(cmd, args, word)
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// completeSet offers TYPE, the names of topics, and keys.
func (c *cli) completeSet(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 1 || len(args) == 1 && args[0] == "broker" {
		return completeKeyOf("=")(cmd, args, word)
	}
	return c.completeResource(cmd, args, word)
}
