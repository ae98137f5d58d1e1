package config

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// WriteMarkdown writes every key as tables in Markdown, by scope and name. The output depends on nothing but the tables.
func WriteMarkdown(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprint(b, "# Configuration keys\n\n"+
		"Update says when a key may change: *static* at start only, *per-broker* for one running broker, *cluster-wide* for one or\n"+
		"for all. A key without effect is accepted, shown and ignored.\n")
	for _, part := range []struct {
		scope Scope
		title string
	}{{ScopeBroker, "Broker"}, {ScopeTopic, "Topic"}, {ScopeGroup, "Group"}, {ScopeClientMetrics, "Client metrics"}} {
		fmt.Fprintf(b, "\n## %s\n\n| Key | Type | Default | Valid values | Update | Effect | What it is |\n|---|---|---|---|---|---|---|\n", part.title)
		for _, k := range Keys(part.scope) {
			writeRow(b, k)
		}
	}
	return b.Flush()
}

func writeRow(w io.Writer, k *Key) {
	value, has := "`"+k.Default+"`", "yes"
	switch {
	case k.NoDefault:
		value = "none"
	case k.Default == "":
		value = "empty"
	}
	if !k.Effect {
		has = "no"
	}
	cells := []string{"`" + k.Name + "`", strings.ToLower(k.Type.String()), value, k.Valid(), k.Update.String(), has, k.Doc}
	for i, c := range cells {
		cells[i] = strings.ReplaceAll(c, "|", `\|`)
	}
	fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | ")) // a bufio.Writer keeps its first error for Flush
}
