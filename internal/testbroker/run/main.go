// Command run starts a cluster of Apache Kafka to try things with, and keeps it until it is interrupted. It prints how to
// reach it in a form that a shell can source.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/amoskys/amoskys/internal/testbroker"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var o testbroker.Options
	role := flag.String("role", testbroker.Admin, "with -tls: whose certificate is printed")
	flag.IntVar(&o.Brokers, "brokers", 1, "1 or 3")
	flag.BoolVar(&o.TLS, "tls", false, "mutual TLS, with the grants of deploy/kafka/acls.tsv")
	flag.StringVar(&o.Dir, "dir", "", "where data goes; default a temporary folder that is removed")
	flag.Parse()
	if o.Dir == "" {
		dir, err := os.MkdirTemp("", "amoskys-kafka-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		o.Dir = dir
	}
	c, err := testbroker.New(ctx, o)
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Printf("export AMOSKYS_BROKERS=%s\n", strings.Join(c.Addrs(), ","))
	if o.TLS {
		if err := grant(ctx, c); err != nil {
			return err
		}
		ca, cert, key, err := c.Files(*role)
		if err != nil {
			return err
		}
		fmt.Printf("export AMOSKYS_KAFKA_TLS_CA_FILE=%s AMOSKYS_KAFKA_TLS_CERT_FILE=%s AMOSKYS_KAFKA_TLS_KEY_FILE=%s\n", ca, cert, key)
	}
	fmt.Fprintf(os.Stderr, "Apache Kafka runs as %s; Ctrl-C ends it\n", c.Kind())
	<-ctx.Done()
	return nil
}

func grant(ctx context.Context, c *testbroker.Cluster) error {
	grants, err := testbroker.Grants()
	if err != nil {
		return err
	}
	return c.Grant(ctx, grants)
}
