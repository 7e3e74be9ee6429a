package testbroker

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// startTimeout bounds the wait for one broker to answer: three JVMs on two busy cores need most of it.
const startTimeout = 3 * time.Minute

// waitAll returns when every broker answers and knows of every other.
func (c *Cluster) waitAll(ctx context.Context) error {
	for i := range c.addrs {
		if err := c.wait(ctx, i, c.addrs); err != nil {
			return err
		}
	}
	return nil
}

// wait returns when broker i answers and knows the given addresses. A TCP connection proves nothing: the proxy of a
// published container port accepts before the broker listens. Nor is an answer enough: a broker that has just joined
// knows neither the others nor itself.
func (c *Cluster) wait(ctx context.Context, i int, known []string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := c.ask(ctx, i, known)
		if err == nil {
			return nil
		}
		if gone := c.nodes.exited(i); gone != nil {
			return fmt.Errorf("broker %d at %s ended: %w", i, c.addrs[i], gone)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for broker %d at %s: %w", i, c.addrs[i], err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// ask sends broker i an ApiVersions and a Metadata request.
func (c *Cluster) ask(ctx context.Context, i int, known []string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	opts := []kgo.Opt{kgo.SeedBrokers(c.addrs[i])}
	if c.certs != nil {
		conf, err := c.certs.client(Admin)
		if err != nil {
			return err
		}
		opts = append(opts, kgo.DialTLSConfig(conf))
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return err
	}
	defer cl.Close()
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	resp, err := cl.SeedBrokers()[0].Request(ctx, req)
	if err != nil {
		return err
	}
	for _, addr := range known {
		if !slices.ContainsFunc(resp.(*kmsg.MetadataResponse).Brokers, func(b kmsg.MetadataResponseBroker) bool {
			return net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port))) == addr
		}) {
			return fmt.Errorf("broker %s is not in the cluster yet", addr)
		}
	}
	return nil
}
