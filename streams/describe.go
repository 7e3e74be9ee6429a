package streams

import (
	"fmt"
	"slices"
	"strings"

	"github.com/amoskys/amoskys/schemas"
)

// A Graph is a topology to look at: topics, the stages that connect them, and the processors within.
type Graph struct {
	Topics []GraphTopic `json:"topics"`
	Stages []GraphStage `json:"stages"`
}

// A GraphTopic is a topic in a Graph.
type GraphTopic struct {
	Name      string   `json:"name"`
	Kind      string   `json:"kind"`
	Key       string   `json:"key"`
	Schemas   []string `json:"schemas"`
	Owner     string   `json:"owner"`
	Class     string   `json:"class"`
	Doc       string   `json:"doc"`
	Retention string   `json:"retention,omitempty"` // a Go duration; empty for ever
}

// A GraphStage is a stage in a Graph.
type GraphStage struct {
	Name       string           `json:"name"`
	Changelog  string           `json:"changelog"`
	Processors []GraphProcessor `json:"processors"`
}

// A GraphProcessor is a processor in a Graph.
type GraphProcessor struct {
	Name    string   `json:"name"`
	Version string   `json:"version"`
	Doc     string   `json:"doc"`
	Inputs  []string `json:"inputs"`
	Outputs []string `json:"outputs"`
	Tables  []string `json:"tables"`
}

// Describe draws the topology of stages of an application.
func Describe(app string, stages []Stage) Graph {
	var g Graph
	var topics []*schemas.Topic
	note := func(ts []*schemas.Topic) (names []string) {
		for _, t := range ts {
			names = append(names, t.Name)
			if !slices.Contains(topics, t) {
				topics = append(topics, t)
			}
		}
		return names
	}
	for _, s := range stages {
		gs := GraphStage{Name: s.Name, Changelog: schemas.ChangelogTopic(app, s.Name).Name}
		for _, p := range s.Processors {
			doc, _, _ := strings.Cut(strings.TrimSpace(p.Doc), "\n")
			gs.Processors = append(gs.Processors, GraphProcessor{p.Name, p.Version, doc, note(p.Inputs), note(p.Outputs), tables(p)})
		}
		g.Stages = append(g.Stages, gs)
	}
	for _, t := range topics {
		gt := GraphTopic{Name: t.Name, Kind: t.Kind.String(), Key: t.Key, Schemas: t.Schemas, Owner: t.Owner, Class: t.Class, Doc: t.Doc}
		if t.Retention > 0 {
			gt.Retention = t.Retention.String()
		}
		g.Topics = append(g.Topics, gt)
	}
	return g
}

// tables asks a processor for its tables, as a plan does.
func tables(p *Processor) (names []string) {
	t := &Task{Partition: -1}
	p.New(&Builder{t: t, proc: p.Name, self: &handler{}})
	for _, s := range t.stores {
		names = append(names, strings.TrimPrefix(s.name(), p.Name+"."))
	}
	return names
}

// Mermaid is the graph as a Mermaid flowchart: topics are cylinders, memory topics dashed.
func (g Graph) Mermaid() string {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	id := func(topic string) string { return "t_" + strings.NewReplacer(".", "_", "-", "_").Replace(topic) }
	for _, t := range g.Topics {
		if t.Kind == schemas.Memory.String() {
			fmt.Fprintf(&b, "  %s([%s])\n", id(t.Name), t.Name)
			continue
		}
		fmt.Fprintf(&b, "  %s[(%s)]\n", id(t.Name), t.Name)
	}
	for _, s := range g.Stages {
		fmt.Fprintf(&b, "  subgraph stage_%s [stage %s]\n", s.Name, s.Name)
		for _, p := range s.Processors {
			fmt.Fprintf(&b, "    p_%s[%s]\n", p.Name, p.Name)
		}
		b.WriteString("  end\n")
		for _, p := range s.Processors {
			for _, t := range p.Inputs {
				fmt.Fprintf(&b, "  %s --> p_%s\n", id(t), p.Name)
			}
			for _, t := range p.Outputs {
				fmt.Fprintf(&b, "  p_%s --> %s\n", p.Name, id(t))
			}
		}
	}
	return b.String()
}
