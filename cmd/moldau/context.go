package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// contextFile is the file of named contexts: contexts.json in MOLDAU_CONFIG_DIR, or in moldau in the user's configuration directory.
type contextFile struct {
	Current  string                  `json:"current,omitempty"`
	Contexts map[string]namedContext `json:"contexts"`
}

// namedContext is a cluster under a name.
type namedContext struct {
	Bootstrap []string `json:"bootstrap"`
}

func unknownContext(name string) error {
	return &failure{
		what: fmt.Sprintf("there is no context %q", name),
		try:  "moldau context list, or make it with: moldau context set " + name + " --bootstrap-server host:port",
	}
}

func (c *cli) contextPath() (string, error) {
	if dir := c.env.get("MOLDAU_CONFIG_DIR"); dir != "" {
		return filepath.Join(dir, "contexts.json"), nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "moldau", "contexts.json"), nil
}

// readContexts reads the file of contexts. An absent file, or no place for one, is one without contexts; a file that
// cannot be read is an error, never an empty one.
func (c *cli) readContexts() (contextFile, error) {
	none := contextFile{Contexts: map[string]namedContext{}}
	path, err := c.contextPath()
	if err != nil {
		return none, nil //nolint:nilerr // without a home directory there are no contexts
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return none, nil
	}
	if err != nil {
		return none, fmt.Errorf("read the contexts: %w", err)
	}
	file := none
	if err := json.Unmarshal(data, &file); err != nil {
		return none, &failure{what: fmt.Sprintf("the contexts in %s cannot be read: %v", path, err), try: "repair or remove the file", err: err}
	}
	return file, nil
}

func (c *cli) writeContexts(file contextFile) error {
	path, err := c.contextPath()
	if err != nil {
		return fmt.Errorf("find a place for the contexts: %w", err)
	}
	data, err := json.MarshalIndent(file, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make the directory of the contexts: %w", err)
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the contexts: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write the contexts: %w", err)
	}
	return nil
}

func newContext(c *cli) *cobra.Command {
	return newGroup("context", "Keep names for clusters", `  moldau context set prod --bootstrap-server k1:9092,k2:9092
  moldau context use prod
  moldau topic list`,
		newContextList(c), newContextUse(c), newContextSet(c), newContextDelete(c))
}

func newContextList(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the contexts; * marks the one in use",
		Example: "  moldau context list",
		Args:    takes(0, 0),
		RunE: func(*cobra.Command, []string) error {
			file, err := c.readContexts()
			if err != nil {
				return err
			}
			return c.print(file, func(w io.Writer) {
				var rows [][]string
				for _, name := range file.names() {
					mark := ""
					if name == file.Current {
						mark = "*"
					}
					rows = append(rows, []string{name, mark, strings.Join(file.Contexts[name].Bootstrap, ",")})
				}
				table(w, []string{"NAME", "USED", "BOOTSTRAP"}, rows)
			})
		},
	}
}

// names are the names of the contexts in order.
func (f contextFile) names() []string {
	names := make([]string, 0, len(f.Contexts))
	for name := range f.Contexts {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func newContextUse(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "use NAME",
		Short: "Make a context the one in use; - for none",
		Example: `  moldau context use prod
  moldau context use -`,
		Args:              takes(1, 1),
		ValidArgsFunction: c.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			file, err := c.readContexts()
			if err != nil {
				return err
			}
			name := args[0]
			if name == "-" {
				name = ""
			} else if _, ok := file.Contexts[name]; !ok {
				return unknownContext(name)
			}
			file.Current = name
			return c.writeContexts(file)
		},
	}
}

func newContextSet(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "set NAME --bootstrap-server host:port,…",
		Short: "Make a context or change it; the first one is in use at once",
		Example: `  moldau context set prod --bootstrap-server k1:9092,k2:9092
  moldau context set local -b 127.0.0.1:9092`,
		Args:              takes(1, 1),
		ValidArgsFunction: c.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(c.bootstrap) == 0 {
				return usagef("--bootstrap-server is missing: a context is a name for brokers")
			}
			if args[0] == "" || args[0] == "-" {
				return usagef("%q cannot be the name of a context", args[0])
			}
			addresses, err := withPorts(c.bootstrap)
			if err != nil {
				return err
			}
			file, err := c.readContexts()
			if err != nil {
				return err
			}
			file.Contexts[args[0]] = namedContext{Bootstrap: addresses}
			if len(file.Contexts) == 1 {
				file.Current = args[0]
			}
			return c.writeContexts(file)
		},
	}
}

func newContextDelete(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:               "delete NAME...",
		Short:             "Delete contexts",
		Example:           "  moldau context delete staging",
		Args:              takes(1, many),
		ValidArgsFunction: c.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			file, err := c.readContexts()
			if err != nil {
				return err
			}
			for _, name := range args {
				if _, ok := file.Contexts[name]; !ok {
					return unknownContext(name)
				}
				delete(file.Contexts, name)
				if file.Current == name {
					file.Current = ""
				}
			}
			return c.writeContexts(file)
		},
	}
}

// completeContexts offers the names of the contexts to the shell.
func (c *cli) completeContexts(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	file, err := c.readContexts()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return file.names(), cobra.ShellCompDirectiveNoFileComp
}
