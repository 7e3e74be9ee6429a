package features

import (
	"fmt"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/amoskys/amoskys/streams/streamstest"
)

var stage = streams.Stage{Name: "features", Processors: []*streams.Processor{Processor}}

func Test(t *testing.T) { streamstest.Run(t, stage, "testdata/*.txtar") }

func TestDeclared(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Declared {
		if f.Name == "" || f.Unit == "" || f.Doc == "" || f.Window <= 0 || f.Entity != "host" && f.Entity != "process" {
			t.Errorf("incomplete: %+v", f)
		}
		if k := f.Entity + "." + f.Name; seen[k] {
			t.Errorf("%s is declared twice", k)
		} else {
			seen[k] = true
		}
	}
	if len(Declared) != len(hostFeatures)+len(processFeatures) {
		t.Errorf("%d features are declared, %d are computed", len(Declared), len(hostFeatures)+len(processFeatures))
	}
}

// value finds a feature of the vector of an entity's minute.
func value(t *testing.T, d *streamstest.Driver, entityType, name string) float64 {
	t.Helper()
	for _, p := range d.Out(schemas.FeaturesTopic) {
		v := p.(*schemas.FeatureVector)
		if v.EntityType != entityType {
			continue
		}
		for _, f := range v.Features {
			if f.Name == name {
				return f.Value
			}
		}
	}
	t.Fatalf("no %s of a %s", name, entityType)
	return 0
}

func TestDistinctIsBounded(t *testing.T) {
	d := streamstest.New(t, stage)
	start := time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)
	for i := range 200 {
		d.Derive(schemas.LineageTopic, "t/h", &schemas.LineageRecord{Kind: "network", Process: schemas.Process{UID: "u"},
			Object: fmt.Sprintf("10.0.0.%d", i), ObjectPort: int32(i % 3), Repeats: 1}, start.Add(time.Duration(i)*time.Millisecond))
	}
	d.Tick(start.Add(2 * time.Minute))
	for name, want := range map[string]float64{"destinations": 64, "ports": 2, "connections": 400} {
		for _, entity := range []string{"host", "process"} {
			if got := value(t, d, entity, name); got != want {
				t.Errorf("%s of the %s is %v, want %v", name, entity, got, want)
			}
		}
	}
	d.Fuzz(10)
}

func TestLate(t *testing.T) {
	d := streamstest.New(t, stage)
	start := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	at := func(minutes int) *schemas.LineageRecord {
		return &schemas.LineageRecord{Kind: "file", FirstObject: true, Process: schemas.Process{UID: "u"},
			Provenance: schemas.Provenance{Time: start.Add(time.Duration(minutes) * time.Minute).UnixNano()}}
	}
	d.Derive(schemas.LineageTopic, "t/h", at(100), start.Add(100*time.Minute))
	d.Derive(schemas.LineageTopic, "t/h", at(90), start.Add(100*time.Minute)) // late for the process, not for the host
	d.Derive(schemas.LineageTopic, "t/h", at(10), start.Add(100*time.Minute)) // late for both
	d.Tick(start.Add(300 * time.Minute))
	if n := len(d.Out(schemas.LateTopic)); n != 2 {
		t.Errorf("%d late records, want 2", n)
	}
	if n := len(d.Out(schemas.FeaturesTopic)); n != 3 {
		t.Errorf("%d vectors, want two of the host and one of the process", n)
	}
	d.Fuzz(10)
}
