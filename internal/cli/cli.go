// Package cli is the command line of Amoskys: it reads the configuration, wires collectors, processors and sinks to a
// broker, and runs one role or all of them. It is the only package that sees every family.
//
// Data goes to standard output, talk to standard error. Exit codes: 0 done, 1 failed, 2 wrong usage, 78 bad
// configuration.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/amoskys/amoskys/internal/config"
	"github.com/spf13/cobra"
)

// The exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
	exitConfig = 78 // EX_CONFIG of sysexits.h
)

// IO is what the program talks to.
type IO struct {
	In       io.Reader
	Out, Err io.Writer
	Environ  []string
}

// errSilent fails a command that has already said why.
var errSilent = errors.New("")

// usageError is a wrong use of a command.
type usageError struct{ error }

// command is what all commands share: streams, flags and, once loaded, the configuration.
type command struct {
	IO
	configPath string
	output     string
	flags      map[string]string // configuration keys set by flags
	creates    bool              // topics that are missing are created
	cfg        Config
	sources    map[string]string
	log        *slog.Logger
}

// Run runs the program and returns its exit code.
func Run(ctx context.Context, args []string, x IO) int {
	asked := ctx
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	x.Out = output{x.Out, stop}
	c := &command{IO: x, flags: map[string]string{}}
	root := c.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var ps config.Problems
	var ue usageError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &ps):
		c.say("amoskys: %s", ps.Error())
		return exitConfig
	case errors.As(err, &ue):
		c.say("amoskys: %v", ue.error)
		return exitUsage
	case errors.Is(err, errSilent):
		return exitFailed
	case errors.Is(err, context.Canceled):
		if asked.Err() != nil {
			c.say("amoskys: interrupted")
		}
		return exitFailed
	}
	c.say("amoskys: %v", err)
	return exitFailed
}

func (c *command) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "amoskys",
		Short: "Threat detection on your own machines: the log is the truth",
		Long: `Amoskys turns what happens on hosts into events on Kafka topics, and those into lineage, features, scores and alerts.
The same events give the same alerts, whatever crashed, moved or was replayed in between.

  amoskys up              everything in one process, on an embedded broker
  amoskys demo            harmless attack-like steps, and the alerts they raise
  amoskys analyze FILE…   the same chain over recorded events

Settings come from a YAML file (--config), variables (AMOSKYS_…) and flags: what comes later holds. 'amoskys config
print' shows every setting and where it comes from.`,
		SilenceErrors: true, SilenceUsage: true,
	}
	root.SetOut(c.Out)
	root.SetErr(c.Err)
	f := root.PersistentFlags()
	f.StringVar(&c.configPath, "config", "", "YAML file with settings")
	f.StringVar(&c.output, "output", "text", "form of what is printed: text or json (one object a line)")
	c.keyFlag(root, "log.level", "log-level", "debug, info, warn or error")
	c.keyFlag(root, "kafka.brokers", "brokers", "addresses of Apache Kafka, comma-separated; without it roles that can use the embedded broker do")
	c.keyFlag(root, "registry.url", "registry-url", "URL of a Confluent-compatible schema registry; without it the embedded one over the _schemas topic")
	c.keyFlag(root, "data_dir", "data-dir", "folder of the embedded broker, spools and snapshots")
	c.keyFlag(root, "listen", "listen", "address of metrics and health, host:port; empty for none")
	root.Args, root.RunE = exactly(cobra.NoArgs), help
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see '%s --help'", err, cmd.CommandPath())}
	})
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if c.output != "text" && c.output != "json" {
			return usageError{fmt.Errorf("--output %q is not accepted; accepted: text, json", c.output)}
		}
		return nil
	}
	root.AddCommand(c.up(), c.demo(), c.analyze(), c.collect(), c.process(), c.sink(), c.registryCommand(), c.topics(), c.tail(), c.alerts(),
		c.audit(), c.describe(), c.schemas(), c.configCommand(), c.dlq(), c.bench(), c.health(), c.version())
	return root
}

// keyFlag declares a flag that sets a configuration key.
func (c *command) keyFlag(cmd *cobra.Command, key, flag, usage string) {
	cmd.PersistentFlags().Var(keyValue{c, key, flag}, flag, usage+" (key "+key+")")
}

// createFlag declares the flag by which a role creates topics that are missing.
func (c *command) createFlag(cmd *cobra.Command) *cobra.Command {
	c.keyFlag(cmd, "topics.create", "create-topics", "create topics that are missing, instead of refusing to start")
	cmd.PersistentFlags().Lookup("create-topics").NoOptDefVal = "true"
	return cmd
}

type keyValue struct {
	c         *command
	key, flag string
}

func (k keyValue) String() string     { return "" }
func (k keyValue) Type() string       { return "value" }
func (k keyValue) Set(s string) error { k.c.flags[k.key] = s; return nil }

// exactly makes cobra's argument checks wrong usage, with the usage line.
func exactly(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			if cmd.HasSubCommands() && len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q%s; see '%s --help'", cmd.CommandPath()+" "+args[0], meant(cmd, args[0]), cmd.CommandPath())}
			}
			return usageError{fmt.Errorf("%w; usage: %s", err, cmd.UseLine())}
		}
		return nil
	}
}

// meant names the commands that a misspelt one is near to.
func meant(cmd *cobra.Command, given string) string {
	cmd.SuggestionsMinimumDistance = 2
	near := cmd.SuggestionsFor(given)
	if len(near) == 0 {
		return ""
	}
	return " (did you mean " + strings.Join(near, " or ") + "?)"
}

// parent is a command that only holds others: without one it explains itself, and an unknown one is wrong usage.
func parent(use, short string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: exactly(cobra.NoArgs), RunE: help}
	cmd.AddCommand(subs...)
	return cmd
}

func help(cmd *cobra.Command, _ []string) error { return cmd.Help() }

// say writes a line to standard error.
func (c *command) say(f string, v ...any) { fmt.Fprintf(c.Err, f+"\n", v...) }

// print writes a line to standard output.
func (c *command) print(f string, v ...any) { fmt.Fprintf(c.Out, f+"\n", v...) }

// json writes one object to standard output, on one line.
func (c *command) json(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Out, "%s\n", b)
	return err
}

// either prints v as JSON where that is asked for, and lets text print it otherwise.
func (c *command) either(v any, text func()) error {
	if c.output == "json" {
		return c.json(v)
	}
	text()
	return nil
}

// load reads the configuration; every problem is reported, and nothing is opened before.
func (c *command) load() error {
	c.cfg = defaults()
	var ps config.Problems
	c.sources, ps = config.Load(&c.cfg, c.configPath, config.Environment{Prefix: envPrefix, Environ: c.Environ, Aliases: aliases, Foreign: foreign})
	for _, key := range slices.Sorted(maps.Keys(c.flags)) {
		c.sources[key] = "flag"
		ps = append(ps, config.Set(&c.cfg, key, c.flags[key], "flag")...)
	}
	ps = append(ps, c.cfg.validate(c.sources)...)
	slices.SortStableFunc(ps, func(a, b config.Problem) int { return strings.Compare(a.Key, b.Key) })
	if err := ps.Err(); err != nil {
		return err
	}
	c.log = c.logger(c.Err)
	return nil
}

// quiet is for commands that talk to a person: they log warnings and errors, unless another level was asked for.
func (c *command) quiet() {
	if c.sources["log.level"] == "" {
		c.cfg.Log.Level = "warn"
		c.log = c.logger(c.Err)
	}
}

func (c *command) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.cfg.Log.Level)) // validated
	o := &slog.HandlerOptions{Level: level}
	if c.cfg.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
