package streams

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/amoskys/amoskys/schemas"
	"github.com/gowebpki/jcs"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A Plan is a stage that was checked and bound to schema ids: what all its tasks share. It does not change.
type Plan struct {
	// MaxRecordBytes bounds key, value and headers of a record together; a larger one is an error of the processor that emits
	// it. 0: no bound.
	MaxRecordBytes int
	// Observe, if set, is told each group of records that a task has processed. For tests and measurements.
	Observe func(partition int32, origin schemas.Origin)

	app, stage string
	procs      []*proc // producers before consumers
	inputs     []*schemas.Topic
	sources    map[string][]string // derived input topic -> processors outside the stage that write it, sorted
	serde      *schemas.Serde
	state      []*schemas.Schema
	tick       schemas.Encoder
	progress   schemas.Encoder
	dead       schemas.Encoder
	activation schemas.Encoder
}

// proc is a processor as the plan sees it.
type proc struct {
	*Processor
	index   int
	accepts map[string]bool // nil: all
	input   map[string]int  // topic -> merge order
	control []*schemas.Topic
	outputs map[string]*output
	config  string // canonical JSON; empty for none
	hash    string
}

type output struct {
	topic    *schemas.Topic
	inside   []*proc // consumers in the stage
	control  bool    // a stage elsewhere merges it: it carries ticks and progress
	produced bool    // it is written
}

// NewPlan checks a stage and registers the schemas of its state. suite is every processor of the topology, whatever
// process runs it: from it follows who else writes the stage's inputs and who reads its outputs.
func NewPlan(ctx context.Context, app string, stage Stage, suite []*Processor, serde *schemas.Serde) (*Plan, error) {
	if err := Validate(stage); err != nil {
		return nil, err
	}
	p := &Plan{app: app, stage: stage.Name, sources: map[string][]string{}, serde: serde}
	sorted, err := order(stage.Processors)
	if err != nil {
		return nil, err
	}
	for i, x := range sorted {
		q, err := newProc(x, i)
		if err != nil {
			return nil, err
		}
		p.procs = append(p.procs, q)
	}
	p.connect(suite)
	for enc, name := range map[*schemas.Encoder]string{&p.tick: "Tick", &p.progress: "Progress", &p.dead: "DeadLetter", &p.activation: "Activation"} {
		if *enc, err = serde.Encoder(name); err != nil {
			return nil, err
		}
	}
	probe := newTask(p, -1) // collects the state schemas
	for _, s := range probe.schemas {
		if err := serde.Bind(ctx, s); err != nil {
			return nil, err
		}
	}
	p.state = probe.schemas
	return p, nil
}

func newProc(x *Processor, i int) (*proc, error) {
	q := &proc{Processor: x, index: i, input: map[string]int{}, outputs: map[string]*output{}}
	if len(x.Accepts) > 0 {
		q.accepts = map[string]bool{}
		for _, a := range x.Accepts {
			q.accepts[a] = true
		}
	}
	for i, t := range x.Inputs {
		q.input[t.Name] = i
	}
	if x.Config != nil {
		text, err := json.Marshal(x.Config)
		if err == nil {
			text, err = jcs.Transform(text)
		}
		if err != nil {
			return nil, fmt.Errorf("write configuration of processor %s: %w", x.Name, err)
		}
		h := sha256.Sum256(append([]byte(x.Version+"\x00"), text...))
		q.config, q.hash = string(text), hex.EncodeToString(h[:])
	}
	return q, nil
}

// connect finds out what comes from outside the stage, and where outputs go.
func (p *Plan) connect(suite []*Processor) {
	inside := map[string]bool{}
	for _, q := range p.procs {
		inside[q.Name] = true
	}
	reads := func(x *Processor, t *schemas.Topic) bool { return slices.Contains(x.Inputs, t) }
	for _, q := range p.procs {
		for _, t := range q.Outputs {
			o := &output{topic: t, produced: t.Kind != schemas.Memory}
			for _, c := range p.procs {
				if reads(c.Processor, t) {
					o.inside = append(o.inside, c)
				}
			}
			o.control = o.produced && t.Kind == schemas.Chain && slices.ContainsFunc(suite, func(x *Processor) bool { return !inside[x.Name] && reads(x, t) })
			if o.control {
				q.control = append(q.control, t)
			}
			q.outputs[t.Name] = o
		}
		for _, t := range q.Inputs {
			if t.Kind == schemas.Memory || slices.Contains(p.inputs, t) {
				continue
			}
			var from []string
			for _, x := range suite {
				if !inside[x.Name] && slices.Contains(x.Outputs, t) {
					from = append(from, x.Name)
				}
			}
			if t.Kind != schemas.Ingest && len(from) == 0 && writes(stageOf(p.procs), t) {
				continue // all of it comes from this stage
			}
			slices.Sort(from)
			p.sources[t.Name] = from
			p.inputs = append(p.inputs, t)
		}
	}
	slices.SortFunc(p.inputs, func(a, b *schemas.Topic) int { return strings.Compare(a.Name, b.Name) })
}

func stageOf(ps []*proc) (out []*Processor) {
	for _, p := range ps {
		out = append(out, p.Processor)
	}
	return out
}

// size is what a record counts of MaxRecordBytes.
func size(key int, value []byte, hs []kgo.RecordHeader) int {
	n := key + len(value)
	for i := range hs {
		n += len(hs[i].Key) + len(hs[i].Value) + headerOverhead
	}
	return n
}

// headerOverhead is what a header needs besides its key and value: their lengths, as varints.
const headerOverhead = 6

func (p *Plan) fits(n int) bool { return p.MaxRecordBytes == 0 || n <= p.MaxRecordBytes }

// Stage is the name of the stage.
func (p *Plan) Stage() string { return p.stage }

// Inputs are the topics that a worker subscribes to, sorted by name.
func (p *Plan) Inputs() []*schemas.Topic { return p.inputs }

// Outputs are the topics that the stage writes, without its changelog and the control topics, sorted by name.
func (p *Plan) Outputs() []*schemas.Topic {
	var out []*schemas.Topic
	for _, q := range p.procs {
		for _, t := range q.Outputs {
			if t.Kind != schemas.Memory && !slices.Contains(out, t) {
				out = append(out, t)
			}
		}
	}
	slices.SortFunc(out, func(a, b *schemas.Topic) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Changelog is the topic of the stage's state.
func (p *Plan) Changelog() *schemas.Topic { return schemas.ChangelogTopic(p.app, p.stage) }
