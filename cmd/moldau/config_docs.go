package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/moldau/moldau/internal/proto/config"
)

// documentedKey is a configuration key as `config docs -o json` prints it.
type documentedKey struct {
	Scope   string  `json:"scope"`
	Key     string  `json:"key"`
	Type    string  `json:"type"`
	Default *string `json:"default"`
	Valid   string  `json:"valid,omitempty"`
	Update  string  `json:"update"`
	Effect  bool    `json:"effect"`
	Doc     string  `json:"doc"`
}

// documentedScopes are the kinds of keys in the order in which they are printed.
var documentedScopes = [...]config.Scope{config.ScopeBroker, config.ScopeTopic, config.ScopeGroup, config.ScopeClientMetrics}

func newConfigDocs(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "docs [KEY...]",
		Short: "Explain configuration keys: the named ones, or all as Markdown",
		Long: `Explain the configuration keys of Moldau: those that are named, or all of them as a page of Markdown.

The keys bear Apache Kafka's names. One without effect is understood and accepted, and changes nothing.`,
		Example: `  moldau config docs retention.ms log.dirs
  moldau config docs > configuration.md
  moldau config docs -o json`,
		Args: takes(0, many),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var names []string
			for _, scope := range documentedScopes {
				for _, k := range config.Keys(scope) {
					names = append(names, k.Name)
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 && c.output == "text" {
				return config.WriteMarkdown(c.stdout)
			}
			keys, err := documentKeys(args)
			if err != nil {
				return err
			}
			return c.print(keys, func(w io.Writer) {
				for i, k := range keys {
					if i > 0 {
						fmt.Fprintln(w)
					}
					k.write(w)
				}
			})
		},
	}
}

// documentKeys returns the named keys in every scope that has them, or all keys where none is named.
func documentKeys(names []string) ([]documentedKey, error) {
	keys := []documentedKey{}
	if len(names) == 0 {
		for _, scope := range documentedScopes {
			for _, k := range config.Keys(scope) {
				keys = append(keys, document(k))
			}
		}
		return keys, nil
	}
	for _, name := range names {
		found := false
		for _, scope := range documentedScopes {
			if k, ok := config.Lookup(scope, name); ok {
				keys = append(keys, document(k))
				found = true
			}
		}
		if !found {
			return nil, unknownKey(name)
		}
	}
	return keys, nil
}

func unknownKey(name string) error {
	f := &failure{what: fmt.Sprintf("there is no configuration key %q", name), try: "every key: moldau config docs"}
	for _, scope := range documentedScopes {
		if near := config.Nearest(scope, name); near != "" {
			f.try = "moldau config docs " + near
			break
		}
	}
	return f
}

func document(k *config.Key) documentedKey {
	d := documentedKey{
		Scope: k.Scope.String(), Key: k.Name, Type: strings.ToLower(k.Type.String()), Valid: k.Valid(),
		Update: k.Update.String(), Effect: k.Effect, Doc: k.Doc,
	}
	if !k.NoDefault {
		d.Default = &k.Default
	}
	return d
}

func (k documentedKey) write(w io.Writer) {
	def := "none"
	switch {
	case k.Default != nil && *k.Default == "":
		def = "empty"
	case k.Default != nil:
		def = *k.Default
	}
	pairs := []string{k.Key, "a key of a " + k.Scope, "type", k.Type, "default", def}
	if k.Valid != "" {
		pairs = append(pairs, "valid", k.Valid)
	}
	pairs = append(pairs, "update", k.Update)
	if !k.Effect {
		pairs = append(pairs, "effect", "none: it is accepted and changes nothing")
	}
	fields(w, pairs...)
	fmt.Fprintln(w, k.Doc)
}
