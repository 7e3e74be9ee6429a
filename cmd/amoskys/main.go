// Command amoskys detects threats on the user's own machines from an event-sourced stream. See `amoskys help`.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/amoskys/amoskys/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)   // a second interrupt ends the program at once
	signal.Ignore(syscall.SIGPIPE) // output that nobody reads ends a command, but cleanly
	code := cli.Run(ctx, os.Args[1:], cli.IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Environ: os.Environ()})
	stop()
	os.Exit(code)
}
