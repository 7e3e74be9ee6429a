package processors_test

import (
	"archive/tar"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/amoskys/amoskys/collectors/file"
	"github.com/amoskys/amoskys/internal/loadgen"
	"github.com/amoskys/amoskys/processors/features"
	"github.com/amoskys/amoskys/processors/lineage"
	"github.com/amoskys/amoskys/processors/normalize"
	"github.com/amoskys/amoskys/processors/signature"
	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/amoskys/amoskys/streams/streamstest"
	"github.com/klauspost/compress/zstd"
)

// front is the part of the chain before the detectors that learn.
var front = []*streams.Processor{normalize.Processor, lineage.Processor, features.Processor, signature.Processor}

// load appends generated events, and a tick that closes their windows.
func load(d *streamstest.Driver, events int) {
	g := loadgen.New(loadgen.Config{Seed: 1, Rate: 100})
	var last int64
	for range events {
		e := g.Next()
		last = e.Env().Time
		d.Ingest(e, time.Unix(0, last))
	}
	d.Tick(time.Unix(0, last).Add(2 * time.Minute))
}

// TestFusedAndSplit holds that the grouping into stages changes nothing of what is written, whatever crashes.
func TestFusedAndSplit(t *testing.T) {
	const events = 2000
	fused := streamstest.New(t, streams.Stage{Name: "front", Processors: front})
	split := streamstest.New(t, streams.Stage{Name: "lineage", Processors: front[:2]}, streams.Stage{Name: "features", Processors: front[2:3]},
		streams.Stage{Name: "signature", Processors: front[3:]})
	load(fused, events)
	load(split, events)
	for _, topic := range []*schemas.Topic{schemas.LineageTopic, schemas.FeaturesTopic, schemas.ScoresTopic} {
		a, b := values(fused, topic), values(split, topic)
		if !slices.Equal(a, b) {
			t.Errorf("%s: %d records fused and %d split, or other ones", topic.Name, len(a), len(b))
		}
		if len(a) == 0 && topic != schemas.ScoresTopic {
			t.Errorf("%s is empty", topic.Name)
		}
	}
	fused.Fuzz(2)
	split.Fuzz(2)
}

func values(d *streamstest.Driver, topic *schemas.Topic) (out []string) {
	for _, v := range d.Out(topic) {
		out = append(out, fmt.Sprintf("%+v", v))
	}
	return out
}

// TestRecordings plays public recordings of attacks and holds that nothing is refused, that no more is told than happened,
// and that the rules which are about what was recorded find it, and find nothing among the rest of a workstation's day.
func TestRecordings(t *testing.T) {
	if testing.Short() {
		t.Skip("short: public data sets are not read")
	}
	for _, x := range []struct {
		archive, recording string
		rules              []string
	}{
		{"windows-attacks", "cmd_dumping_ntds_dit_file_ntdsutil", []string{"ntds_export"}},
		{"windows-attacks", "sam_copy_esentutl", []string{"sam_export"}},
		{"windows-attacks", "psh_lsass_memory_dump_comsvcs", []string{"lsass_dump", "lsass_read"}},
		{"windows-attacks", "empire_mimikatz_logonpasswords", []string{"lsass_read"}},
		{"windows-attacks", "psh_mavinject_dll_notepad", []string{"remote_thread"}},
		{"edr-graph", "carbanak-h3", []string{"world_writable_network"}},
	} {
		t.Run(x.recording, func(t *testing.T) {
			path := unpack(t, x.archive, x.recording)
			d := streamstest.New(t, streams.Stage{Name: "front", Processors: front})
			events := collect(t, d, path)
			for _, v := range d.Out(schemas.DeadLetterTopic) {
				t.Errorf("dead letter: %s", v.(*schemas.DeadLetter).Error)
			}
			var told int64
			records := d.Out(schemas.LineageTopic)
			for _, v := range records {
				told += 1 + v.(*schemas.LineageRecord).Repeats
			}
			if told > int64(events) {
				t.Errorf("%d activities are told of %d events", told, events)
			}
			var rules []string
			for _, v := range d.Out(schemas.ScoresTopic) {
				s := v.(*schemas.DetectorScore)
				t.Logf("%s: %s %q %s", s.Detector, s.Process.Path, s.Process.CmdLine, s.Object)
				if rule := strings.TrimPrefix(s.Detector, "signature."); !slices.Contains(rules, rule) {
					rules = append(rules, rule)
				}
			}
			if slices.Sort(rules); !slices.Equal(rules, x.rules) {
				t.Errorf("rules %v, want %v", rules, x.rules)
			}
			t.Logf("%d events, %d records, %d vectors", events, len(records), len(d.Out(schemas.FeaturesTopic)))
		})
	}
}

func collect(t *testing.T, d *streamstest.Driver, path string) (events int) {
	t.Helper()
	r, err := file.Open(path, file.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for {
		e, err := r.Next()
		if err == io.EOF {
			return events
		}
		if err != nil {
			t.Fatal(err)
		}
		d.Ingest(e, time.Unix(0, e.Env().Time))
		events++
	}
}

// unpack writes the files of one recording of a public data set, NAME.tar.zst in the folder AMOSKYS_DATA, to a temporary
// folder, and returns the file, or the folder if there are several.
func unpack(t *testing.T, archive, recording string) string {
	t.Helper()
	dir := cmp.Or(os.Getenv("AMOSKYS_DATA"), filepath.Join("..", "..", "shared", "data"))
	in, err := os.Open(filepath.Join(dir, archive+".tar.zst"))
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("data set %s is not in %s; AMOSKYS_DATA says where it is", archive, dir)
	} else if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	z, err := zstd.NewReader(in, zstd.WithDecoderMaxWindow(1<<31))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var paths []string
	tmp := t.TempDir()
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg || !strings.Contains(h.Name, recording) || strings.Contains(h.Name, "meta/") {
			continue
		}
		path := filepath.Join(tmp, filepath.Base(h.Name))
		out, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(out, r); err != nil {
			t.Fatal(err)
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	switch len(paths) {
	case 0:
		t.Fatalf("data set %s has no recording %s", archive, recording)
	case 1:
		return paths[0]
	}
	return tmp
}

// BenchmarkFront measures the chain up to each processor, with decoding, encoding and the changelog; the difference of two
// is the cost of a processor with what it writes.
func BenchmarkFront(b *testing.B) {
	const events = 40_000
	for i, p := range front {
		b.Run(p.Name, func(b *testing.B) {
			d := streamstest.New(b, streams.Stage{Name: "front", Processors: front[:i+1]})
			load(d, events)
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				d.Tick(time.Unix(0, 0)) // something new, so that all is played again
				b.StartTimer()
				d.Counts("front")
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/events, "ns/event")
		})
	}
}
