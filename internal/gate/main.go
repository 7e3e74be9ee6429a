// Command gate holds what the builds of this repository promise. It counts tests so that a run which tested nothing
// cannot look like a success, and measures coverage over all test runs together.
//
//	go test -json ./... | gate tests -counts FILE      print what matters of a test run, remember its counts
//	gate cover -min 80 PROFILE...                       merge coverage profiles, hold the least share of statements
//	gate sum FILE...                                    add up counts; the closing line of `make test`
//
// The exit code is 0 when the promise holds, 1 when it does not, 2 for wrong usage.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// errBroken is returned when a promise does not hold and the reason has been printed.
var errBroken = errors.New("broken")

func run(args []string, in io.Reader, out, talk io.Writer) int {
	commands := map[string]func([]string, io.Reader, io.Writer, *flag.FlagSet) error{"tests": tests, "cover": cover, "sum": sum}
	if len(args) == 0 || commands[args[0]] == nil {
		fmt.Fprintln(talk, "usage: gate tests|cover|sum [flags] [file ...]")
		return 2
	}
	flags := flag.NewFlagSet("gate "+args[0], flag.ContinueOnError)
	flags.SetOutput(talk)
	err := commands[args[0]](args[1:], in, out, flags)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		return 2
	case !errors.Is(err, errBroken):
		fmt.Fprintf(talk, "gate %s: %v\n", args[0], err)
	}
	return 1
}

// errUsage is returned for flags that were not understood; the flag package has said why.
var errUsage = errors.New("wrong usage")
