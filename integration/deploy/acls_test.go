package deploy

import (
	"slices"
	"strings"
	"testing"

	"github.com/amoskys/amoskys/internal/testbroker"
	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func grants(t *testing.T) []testbroker.Grant {
	t.Helper()
	gs, err := testbroker.Grants()
	if err != nil {
		t.Fatal(err)
	}
	return gs
}

func matches(g testbroker.Grant, name string) bool {
	if g.Pattern == kmsg.ACLResourcePatternTypePrefixed {
		return strings.HasPrefix(name, g.Name)
	}
	return g.Name == name
}

// may reports whether a role has a right.
func may(gs []testbroker.Grant, role string, op kmsg.ACLOperation, kind kmsg.ACLResourceType, name string) bool {
	return slices.ContainsFunc(gs, func(g testbroker.Grant) bool {
		return g.Role == role && g.Resource == kind && matches(g, name) && slices.Contains(g.Operations, op)
	})
}

func TestGrantsNameWhatExists(t *testing.T) {
	topics := schemas.Topics()
	for _, stage := range []string{"lineage", "features", "scoring", "chain"} {
		topics = append(topics, schemas.ChangelogTopic("amoskys", stage))
	}
	for _, g := range grants(t) {
		if g.Resource == kmsg.ACLResourceTypeTopic && !slices.ContainsFunc(topics, func(tp *schemas.Topic) bool { return matches(g, tp.Name) }) {
			t.Errorf("role %s has rights on topic %s, which is not declared", g.Role, g.Name)
		}
	}
}

func TestStagesMayDoTheirWork(t *testing.T) {
	gs := grants(t)
	for _, stage := range []string{"lineage", "features", "scoring", "chain"} {
		log := schemas.ChangelogTopic("amoskys", stage).Name
		for what, ok := range map[string]bool{
			"read its group":       may(gs, stage, kmsg.ACLOperationRead, kmsg.ACLResourceTypeGroup, streams.GroupID("amoskys", stage)),
			"write its changelog":  may(gs, stage, kmsg.ACLOperationWrite, kmsg.ACLResourceTypeTopic, log),
			"read its changelog":   may(gs, stage, kmsg.ACLOperationRead, kmsg.ACLResourceTypeTopic, log),
			"write dead letters":   may(gs, stage, kmsg.ACLOperationWrite, kmsg.ACLResourceTypeTopic, schemas.DeadLetterTopic.Name),
			"write activations":    may(gs, stage, kmsg.ACLOperationWrite, kmsg.ACLResourceTypeTopic, schemas.ActivationsTopic.Name),
			"open a transaction":   may(gs, stage, kmsg.ACLOperationWrite, kmsg.ACLResourceTypeTransactionalId, "amoskys."+stage+".host.0"),
			"read settings of its": may(gs, stage, kmsg.ACLOperationDescribeConfigs, kmsg.ACLResourceTypeTopic, log),
		} {
			if !ok {
				t.Errorf("stage %s may not %s", stage, what)
			}
		}
	}
}

// TestStolenCertificates holds what a role must not be able to do, whoever has its key.
func TestStolenCertificates(t *testing.T) {
	gs := grants(t)
	for _, tp := range schemas.Topics() {
		if may(gs, "collector", kmsg.ACLOperationRead, kmsg.ACLResourceTypeTopic, tp.Name) {
			t.Errorf("a sensor may read %s", tp.Name)
		}
		if tp != schemas.AuditTopic && tp.Kind != schemas.Ingest && may(gs, "collector", kmsg.ACLOperationWrite, kmsg.ACLResourceTypeTopic, tp.Name) {
			t.Errorf("a sensor may write %s", tp.Name)
		}
		if may(gs, "analyst", kmsg.ACLOperationWrite, kmsg.ACLResourceTypeTopic, tp.Name) {
			t.Errorf("an analyst may write %s", tp.Name)
		}
	}
	for _, role := range []string{"collector", "registry", "lineage", "features", "sink", "analyst"} {
		if may(gs, role, kmsg.ACLOperationWrite, kmsg.ACLResourceTypeTopic, schemas.AlertsTopic.Name) {
			t.Errorf("role %s may write alerts", role)
		}
	}
	for _, g := range gs {
		if g.Role != "topics" && slices.ContainsFunc(g.Operations, func(op kmsg.ACLOperation) bool {
			return op == kmsg.ACLOperationAll || op == kmsg.ACLOperationDelete || op == kmsg.ACLOperationAlter || op == kmsg.ACLOperationAlterConfigs
		}) {
			t.Errorf("role %s may change or delete %s", g.Role, g.Name)
		}
	}
}
