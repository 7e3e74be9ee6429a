package testbroker

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A Grant is one line of deploy/kafka/acls.tsv: what a role may do with the resources of one kind and name.
type Grant struct {
	Role       string
	Operations []kmsg.ACLOperation
	Resource   kmsg.ACLResourceType
	Pattern    kmsg.ACLResourcePatternType // literal or prefixed
	Name       string
}

// Grants reads the grants of all roles as they are deployed: deploy/kafka/acls.tsv.
func Grants() ([]Grant, error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(root, "deploy", "kafka", "acls.tsv"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseGrants(f)
}

func parseGrants(r io.Reader) ([]Grant, error) {
	var gs []Grant
	s := bufio.NewScanner(r)
	for n := 1; s.Scan(); n++ {
		line := s.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		g, err := parseGrant(strings.Split(line, "\t"))
		if err != nil {
			return nil, fmt.Errorf("read grant in line %d: %w", n, err)
		}
		gs = append(gs, g)
	}
	return gs, s.Err()
}

func parseGrant(cols []string) (g Grant, err error) {
	if len(cols) != 5 || slices.Contains(cols, "") {
		return g, fmt.Errorf("%d columns: want role, operations, resource, pattern, name", len(cols))
	}
	g.Role, g.Name = cols[0], cols[4]
	for op := range strings.SplitSeq(cols[1], ",") {
		o, err := kmsg.ParseACLOperation(op)
		if err != nil {
			return g, err
		}
		g.Operations = append(g.Operations, o)
	}
	if g.Resource, err = kmsg.ParseACLResourceType(strings.ReplaceAll(cols[2], "-", "_")); err != nil {
		return g, err
	}
	if g.Pattern, err = kmsg.ParseACLResourcePatternType(cols[3]); err != nil {
		return g, err
	}
	return g, nil
}

// Grant gives the cluster's roles their rights and returns when the brokers know them.
func (c *Cluster) Grant(ctx context.Context, grants []Grant) error {
	conf, err := c.TLS(Admin)
	if err != nil {
		return err
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.addrs...), kgo.DialTLSConfig(conf))
	if err != nil {
		return err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	for _, g := range grants {
		b := kadm.NewACLs().ResourcePatternType(g.Pattern).Operations(g.Operations...).Allow("User:" + g.Role)
		switch g.Resource {
		case kmsg.ACLResourceTypeTopic:
			b = b.Topics(g.Name)
		case kmsg.ACLResourceTypeGroup:
			b = b.Groups(g.Name)
		case kmsg.ACLResourceTypeTransactionalId:
			b = b.TransactionalIDs(g.Name)
		default:
			return fmt.Errorf("grant %s to %s: a resource of kind %s is not known here", g.Name, g.Role, g.Resource)
		}
		rs, err := adm.CreateACLs(ctx, b)
		for _, r := range rs {
			if err == nil && r.Err != nil {
				err = fmt.Errorf("%w: %s", r.Err, r.ErrMessage)
			}
		}
		if err != nil {
			return fmt.Errorf("grant %s to %s: %w", g.Name, g.Role, err)
		}
	}
	return c.granted(ctx, adm, grants)
}

// granted waits until the last of the grants is in every broker's copy of the metadata log: the controller answers before.
func (c *Cluster) granted(ctx context.Context, adm *kadm.Client, grants []Grant) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	want := 0
	for _, g := range grants {
		want += len(g.Operations)
	}
	for {
		have := 0
		rs, err := adm.DescribeACLs(ctx, kadm.NewACLs().AnyResource().Operations().Allow().AllowHosts().ResourcePatternType(kadm.ACLPatternAny))
		for _, r := range rs {
			have += len(r.Described)
		}
		if err == nil && have >= want {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for grants: %d of %d operations are known: %w", have, want, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}
