package streams

import (
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/amoskys/amoskys/schemas"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A Processor turns records into derived records. It is declared as a package variable and listed in a suite; nothing
// registers itself.
type Processor struct {
	// Name is lower_snake_case and part of changelogs, metrics and progress records: it is never changed.
	Name string
	// Doc says what the processor does; its first line is the summary.
	Doc string
	// Version changes whenever the same input may give other output.
	Version string
	// Inputs in merge order: for one ingest record, what came of it on an earlier input is processed first.
	Inputs []*schemas.Topic
	// Accepts are the schemas the processor wants; a record of another schema is passed over, undecoded where nobody
	// wants it. Empty means all.
	Accepts []string
	// Outputs are the topics the processor may emit to.
	Outputs []*schemas.Topic
	// Config is what its results depend on besides its input: thresholds, lists. It is written as canonical JSON to an
	// activation record before its first use and whenever it changes. Nil for none.
	Config any
	// New builds the handler of one task. It is called once for each partition; tables and windows that it makes from b
	// belong to that task.
	New func(b *Builder) Handler
}

// A Handler processes the records of one task. The engine calls it from one goroutine at a time, in order.
type Handler interface {
	// Process must be deterministic. r and everything it points to is valid until Process returns and must not be
	// modified unless the topic is a memory topic; clone what is kept. Emitting nothing means the record is of no interest.
	// An error, or a panic, sends the record to the dead-letter topic and undoes what Process changed and emitted.
	Process(c *Context, r *Record) error
}

// HandlerFunc makes a function a Handler.
type HandlerFunc func(*Context, *Record) error

// Process calls f.
func (f HandlerFunc) Process(c *Context, r *Record) error { return f(c, r) }

// A Record is one record as a processor sees it.
type Record struct {
	Topic    string
	Key      string
	Value    schemas.Payload
	Time     int64 // event time, nanoseconds; for a derived record the time in its provenance
	Origin   schemas.Origin
	Causes   []string         // ids of the ingest events behind it
	Coverage schemas.Coverage // what was seen of the key's host up to here

	trace    string // W3C trace id, found when it is asked for
	producer string // processor that emitted it; empty on ingest topics
	emit     int32
	raw      raw // as it came from the log, for dead letters
}

type raw struct {
	partition  int32
	offset     int64 // -1: handed over in memory
	key, value []byte
	headers    []kgo.RecordHeader
	timestamp  int64
}

func rawOf(r *kgo.Record) raw {
	return raw{r.Partition, r.Offset, r.Key, r.Value, r.Headers, r.Timestamp.UnixMilli()}
}

// Ref names where a record lies, for errors and logs.
func (r *Record) Ref() string {
	return fmt.Sprintf("%s/%d@%d", r.Origin.Topic, r.Origin.Partition, r.Origin.Offset)
}

// A Stage is a list of processors that run together in one task per partition.
type Stage struct {
	// Name is lower_snake_case and part of the consumer group and changelog: a different grouping is a different stage.
	Name       string
	Processors []*Processor
}

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9_]{0,40}$`)

// Validate checks that the stages form a chain that can run, and reports everything that is wrong.
func Validate(stages ...Stage) error {
	var errs []error
	bad := func(f string, v ...any) { errs = append(errs, fmt.Errorf(f, v...)) }
	where := map[string]string{} // processor -> stage
	written := map[string]bool{}
	for _, s := range stages {
		if !nameForm.MatchString(s.Name) {
			bad("stage %q: name is not lower_snake_case", s.Name)
		}
		if len(s.Processors) == 0 {
			bad("stage %s: no processors", s.Name)
		}
		for _, p := range s.Processors {
			switch {
			case p == nil:
				bad("stage %s: nil processor", s.Name)
				continue
			case !nameForm.MatchString(p.Name):
				bad("stage %s: processor %q: name is not lower_snake_case", s.Name, p.Name)
			case where[p.Name] != "":
				bad("processor %s: is in stage %s and in stage %s", p.Name, where[p.Name], s.Name)
			}
			where[p.Name] = s.Name
			if p.New == nil {
				bad("processor %s: New is nil", p.Name)
			}
			if p.Doc == "" {
				bad("processor %s: Doc is empty", p.Name)
			}
			if p.Version == "" {
				bad("processor %s: Version is empty", p.Name)
			}
			if len(p.Inputs) == 0 {
				bad("processor %s: no inputs", p.Name)
			}
			for _, n := range p.Accepts {
				if _, ok := schemas.Lookup(n); !ok {
					bad("processor %s: accepts unknown schema %s", p.Name, n)
				}
			}
			for _, t := range p.Outputs {
				written[t.Name] = true
				if t.Kind == schemas.Ingest {
					bad("processor %s: output %s is an ingest topic", p.Name, t.Name)
				}
				if slices.Contains(p.Inputs, t) {
					bad("processor %s: output %s is its input too", p.Name, t.Name)
				}
			}
		}
		if _, err := order(s.Processors); err != nil {
			bad("stage %s: %w", s.Name, err)
		}
		for _, p := range s.Processors {
			for _, t := range p.Inputs {
				if t.Kind == schemas.Memory && !writes(s.Processors, t) {
					bad("processor %s: input %s is handed over in memory, so its producer must be in stage %s too", p.Name, t.Name, s.Name)
				}
			}
		}
	}
	return errors.Join(errs...)
}

func writes(ps []*Processor, t *schemas.Topic) bool {
	for _, p := range ps {
		for _, o := range p.Outputs {
			if o == t {
				return true
			}
		}
	}
	return false
}

// order sorts processors so that a producer comes before its consumers; ties keep the listed order.
func order(ps []*Processor) ([]*Processor, error) {
	var out []*Processor
	left := append([]*Processor(nil), ps...)
	for len(left) > 0 {
		n := len(left)
		for i, p := range left {
			ready := true
			for _, t := range p.Inputs {
				for _, q := range left {
					if q != p && writes([]*Processor{q}, t) {
						ready = false
					}
				}
			}
			if ready {
				out = append(out, p)
				left = append(left[:i:i], left[i+1:]...)
				break
			}
		}
		if len(left) == n {
			return nil, fmt.Errorf("processors %s form a cycle", left[0].Name)
		}
	}
	return out, nil
}
