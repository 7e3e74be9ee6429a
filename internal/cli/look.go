package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/amoskys/amoskys/internal/config"
	"github.com/amoskys/amoskys/processors"
	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/spf13/cobra"
)

// Version is set at link time: -ldflags "-X github.com/amoskys/amoskys/internal/cli.Version=…".
var Version = "dev"

// Commit is set at link time like Version; else it comes from the build information.
var Commit = ""

func commit() string {
	if Commit != "" {
		return Commit
	}
	if b, ok := debug.ReadBuildInfo(); ok {
		for _, s := range b.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return "unknown"
}

func (c *command) version() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print version, commit and platform", Args: exactly(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			v := map[string]string{"version": Version, "commit": commit(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
			return c.either(v, func() { c.print("amoskys %s (%s, %s, %s)", Version, v["commit"], v["go"], v["platform"]) })
		}}
}

func (c *command) health() *cobra.Command {
	var address string
	cmd := &cobra.Command{Use: "health", Short: "Ask a running role whether it is ready; exit code 1 if not", Args: exactly(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 5*time.Second)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
			if err != nil {
				return usageError{err}
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
			if err != nil {
				return err
			}
			fmt.Fprintf(c.Out, "%s", body)
			if resp.StatusCode != http.StatusOK {
				return errSilent
			}
			return nil
		}}
	cmd.Flags().StringVar(&address, "address", "127.0.0.1:9464", "address of the role's metrics and health")
	return cmd
}

func (c *command) describe() *cobra.Command {
	var grouping string
	cmd := &cobra.Command{Use: "describe", Short: "Draw the topology: Mermaid, or JSON with --output json", Args: exactly(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if err := c.load(); err != nil {
				return err
			}
			stages, err := stagesOf(processors.Suite(c.cfg.Processors), grouping)
			if err != nil {
				return usageError{err}
			}
			g := streams.Describe(appName, stages)
			return c.either(g, func() { fmt.Fprint(c.Out, g.Mermaid()) })
		}}
	cmd.Flags().StringVar(&grouping, "grouping", "split", "which processors run together: split or fused")
	return cmd
}

func (c *command) schemas() *cobra.Command {
	return parent("schemas", "List, print and check the schemas",
		&cobra.Command{Use: "list", Short: "Names of all schemas", Args: exactly(cobra.NoArgs), RunE: func(*cobra.Command, []string) error {
			for _, n := range schemas.Names() {
				s, _ := schemas.Lookup(n)
				if err := c.either(map[string]string{"name": n, "subject": s.Subject()}, func() { c.print("%s", n) }); err != nil {
					return err
				}
			}
			return nil
		}},
		&cobra.Command{Use: "show NAME", Short: "Print a schema, self-contained", Args: exactly(cobra.ExactArgs(1)), RunE: func(_ *cobra.Command, a []string) error {
			s, ok := schemas.Lookup(a[0])
			if !ok {
				return usageError{fmt.Errorf("schema %q is not known; known: %v", a[0], schemas.Names())}
			}
			c.print("%s", s.Text)
			return nil
		}},
		&cobra.Command{Use: "check", Short: "Check that every schema can be registered: compatible with all versions the registry has", Args: exactly(cobra.NoArgs),
			RunE: c.schemasCheck})
}

func (c *command) configCommand() *cobra.Command {
	return parent("config", "Check or print the configuration",
		&cobra.Command{Use: "check", Short: "Report everything that is wrong with the configuration", Args: exactly(cobra.NoArgs),
			RunE: func(*cobra.Command, []string) error {
				if err := c.load(); err != nil {
					return err
				}
				return c.either(map[string]any{"ok": true, "config_hash": c.cfg.hash()}, func() { c.print("configuration is good (hash %.16s)", c.cfg.hash()) })
			}},
		&cobra.Command{Use: "print", Short: "Print every setting, its value, and where it comes from", Args: exactly(cobra.NoArgs),
			RunE: func(*cobra.Command, []string) error {
				if err := c.load(); err != nil {
					return err
				}
				return c.printConfig()
			}})
}

func (c *command) printConfig() error {
	for _, key := range config.Keys(&c.cfg) {
		value, source := c.cfg.printed(key), c.sources[key]
		if source == "" {
			source = "default"
		}
		err := c.either(map[string]string{"key": key, "value": value, "source": source}, func() { c.print("%-40s %-40s # %s", key, value, source) })
		if err != nil {
			return err
		}
	}
	return nil
}
