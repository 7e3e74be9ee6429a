package schemas

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kind says how a topic is written and what its order means.
type Kind int

// The kinds of topics.
const (
	Ingest  Kind = iota // facts from outside, stamped by the broker (LogAppendTime), written without transactions
	Chain               // derived records, written in the transactions of a stage, in the partition of their trigger
	Table               // compacted: the newest record of a key is the truth
	Journal             // operation of the platform: audit, dead letters, late data
	Memory              // never on a broker: handed over between processors of one stage
)

// String is the kind in a word.
func (k Kind) String() string { return [...]string{"ingest", "chain", "table", "journal", "memory"}[k] }

// A Topic declares one topic. All topics are in the variables below and nowhere else.
type Topic struct {
	Name       string // on brokers
	Kind       Kind
	Doc        string        // what is on it, for whom
	Key        string        // what the record key is
	Schemas    []string      // names of the schemas on it
	Retention  time.Duration // how long records are kept; 0 for ever (compacted topics)
	Partitions int           // 0: as many as the ingest topics have; otherwise exactly this number
	Owner      string        // who writes it
	Class      string        // classification of the data: public, internal, personal
}

// Day is the unit retention is given in.
const Day = 24 * time.Hour

// The topics. A name is amoskys.<domain>.<name>.v<major>; a new major version is a new topic.
var (
	EndpointTopic = &Topic{Name: "amoskys.telemetry.endpoint.v1", Kind: Ingest, Key: "tenant/host", Owner: "collectors", Class: "personal", Retention: 7 * Day,
		Doc: "what happened on hosts: processes, files, connections, names, memory, modules, registry, system calls; and what collectors say of themselves",
		Schemas: []string{"ProcessExec", "ProcessFork", "ProcessExit", "ProcessAccess", "FileActivity", "NetworkActivity", "DNSActivity", "MemoryActivity",
			"ModuleActivity", "RegistryActivity", "SyscallSequence", "CollectorStatus", "Tick"}}
	FlowTopic = &Topic{Name: "amoskys.telemetry.flow.v1", Kind: Ingest, Key: "tenant/exporter", Owner: "collectors", Class: "personal", Retention: 7 * Day,
		Doc: "flow records of exporters", Schemas: []string{"Flow", "CollectorStatus", "Tick"}}
	NormalizedTopic = &Topic{Name: "amoskys.memory.endpoint.v1", Kind: Memory, Key: "tenant/host", Owner: "normalize", Class: "personal",
		Doc: "endpoint events in canonical form; never written", Schemas: []string{"ProcessExec", "ProcessFork", "ProcessExit", "ProcessAccess", "FileActivity",
			"NetworkActivity", "DNSActivity", "MemoryActivity", "ModuleActivity", "RegistryActivity", "SyscallSequence", "CollectorStatus"}}
	LineageTopic = &Topic{Name: "amoskys.lineage.process.v1", Kind: Chain, Key: "tenant/host", Owner: "lineage", Class: "personal", Retention: 7 * Day,
		Doc: "each activity with its process, ancestors and first-seen facts", Schemas: []string{"LineageRecord", "Tick", "Progress"}}
	FeaturesTopic = &Topic{Name: "amoskys.features.endpoint.v1", Kind: Chain, Key: "tenant/host", Owner: "features", Class: "internal", Retention: 14 * Day,
		Doc: "feature vectors of hosts and processes", Schemas: []string{"FeatureVector", "Tick", "Progress"}}
	ScoresTopic = &Topic{Name: "amoskys.scores.endpoint.v1", Kind: Chain, Key: "tenant/host", Owner: "detectors", Class: "personal", Retention: 30 * Day,
		Doc: "what detectors find unusual, and how far their warm-up is", Schemas: []string{"DetectorScore", "Readiness", "Tick", "Progress"}}
	AlertsTopic = &Topic{Name: "amoskys.alerts.finding.v1", Kind: Chain, Key: "tenant/host", Owner: "ensemble", Class: "personal", Retention: 90 * Day,
		Doc: "alerts for SOC teams, identified by (id, revision)", Schemas: []string{"Alert", "Tick", "Progress"}}
	IncidentsTopic = &Topic{Name: "amoskys.alerts.incident.v1", Kind: Chain, Key: "tenant/host", Owner: "incident", Class: "personal", Retention: 365 * Day,
		Doc: "alerts of one entity and its neighbours over time", Schemas: []string{"Incident", "Tick", "Progress"}}
	ActivationsTopic = &Topic{Name: "amoskys.control.activation.v1", Kind: Table, Key: "kind/name", Owner: "stages", Class: "internal",
		Doc: "which rule, model, threshold or list is used from which position on", Schemas: []string{"Activation"}}
	LateTopic = &Topic{Name: "amoskys.control.late.v1", Kind: Journal, Key: "tenant/host", Owner: "stages", Class: "personal", Retention: 14 * Day,
		Doc: "records that came after their lateness, with the delay in a header"}
	DeadLetterTopic = &Topic{Name: "amoskys.control.deadletter.v1", Kind: Journal, Key: "as the original", Owner: "stages", Class: "personal", Retention: 14 * Day,
		Doc: "records that could not be taken, with the cause and the original bytes", Schemas: []string{"DeadLetter"}}
	AuditTopic = &Topic{Name: "amoskys.control.audit.v1", Kind: Journal, Key: "actor", Owner: "every role", Class: "internal", Retention: 365 * Day, Partitions: 1,
		Doc: "starts, stops, changes and re-drives: who did what, when", Schemas: []string{"AuditRecord"}}
	SchemasTopic = &Topic{Name: "_schemas", Kind: Table, Key: "subject and version", Owner: "registry", Class: "public", Partitions: 1,
		Doc: "registered schemas, in the layout of the Confluent Schema Registry"}
)

// Topics are all declared topics that exist on a broker, sorted by name. Changelogs of stages come on top, see ChangelogTopic.
func Topics() []*Topic {
	ts := []*Topic{EndpointTopic, FlowTopic, LineageTopic, FeaturesTopic, ScoresTopic, AlertsTopic, IncidentsTopic, ActivationsTopic, LateTopic, DeadLetterTopic, AuditTopic, SchemasTopic}
	slices.SortFunc(ts, func(a, b *Topic) int { return strings.Compare(a.Name, b.Name) })
	return ts
}

// TopicByName finds a declared topic.
func TopicByName(name string) (*Topic, bool) {
	for _, t := range Topics() {
		if t.Name == name {
			return t, true
		}
	}
	return nil, false
}

// ChangelogTopic declares the compacted changelog of a stage of an application: one partition for each task.
func ChangelogTopic(app, stage string) *Topic {
	return &Topic{Name: fmt.Sprintf("amoskys.changelog.%s.%s", app, stage), Kind: Table, Key: "table and key", Owner: "stage " + stage, Class: "personal",
		Doc: "state of the stage, so that it can be restored elsewhere"}
}
