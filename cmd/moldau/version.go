package main

import (
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker (-X main.version=1.2.3); else the build information of the module is used.
var version string

// buildVersion is what `moldau version` prints.
type buildVersion struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Time     string `json:"time,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func readVersion() buildVersion {
	v := buildVersion{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if ok {
		if v.Version == "" && info.Main.Version != "(devel)" {
			v.Version = info.Main.Version
		}
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				v.Commit = s.Value
			case "vcs.time":
				v.Time = s.Value
			case "vcs.modified":
				v.Modified = s.Value == "true"
			}
		}
	}
	if v.Version == "" {
		v.Version = "devel"
	}
	return v
}

// softwareVersion is the version in the form that brokers accept as a client's (KIP-511).
func softwareVersion() string {
	out := []byte(readVersion().Version)
	for i, b := range out {
		ok := b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '.' || b == '-'
		if !ok {
			out[i] = '-'
		}
	}
	return string(out)
}

func newVersion(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print which Moldau this is",
		Example: `  moldau version
  moldau version -o json`,
		Args: takes(0, 0),
		RunE: func(*cobra.Command, []string) error {
			v := readVersion()
			return c.print(v, func(w io.Writer) {
				pairs := []string{"moldau", v.Version}
				if v.Commit != "" {
					commit := v.Commit
					if v.Modified {
						commit += " (modified)"
					}
					pairs = append(pairs, "commit", commit, "time", v.Time)
				}
				fields(w, append(pairs, "go", v.Go, "platform", v.Platform)...)
			})
		},
	}
}
