package signature

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/amoskys/amoskys/streams/streamstest"
)

func stage(p *streams.Processor) streams.Stage {
	return streams.Stage{Name: "signature", Processors: []*streams.Processor{p}}
}

func Test(t *testing.T) { streamstest.Run(t, stage(Processor), "testdata/*.txtar") }

// TestScenarios holds that each rule has a scenario that sets it off, alone, and one that leaves all rules silent.
func TestScenarios(t *testing.T) {
	for _, r := range Rules {
		fires, silent := outputs(t, r.ID), outputs(t, r.ID+"_not")
		if len(fires) == 0 {
			t.Errorf("%s: its scenario does not set it off", r.ID)
		}
		for _, line := range fires {
			if !strings.Contains(line, `"detector":"signature.`+r.ID+`"`) {
				t.Errorf("%s: its scenario sets off another rule: %s", r.ID, line)
			}
		}
		if len(silent) > 0 {
			t.Errorf("%s_not: %s", r.ID, silent[0])
		}
	}
}

func outputs(t *testing.T, name string) (lines []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".txtar"))
	if err != nil {
		t.Error(err)
		return nil
	}
	_, want, _ := strings.Cut(string(text), "-- want.jsonl --\n")
	for line := range strings.Lines(want) {
		if strings.Contains(line, `"topic":"`+schemas.ScoresTopic.Name+`"`) {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestRulesAreComplete(t *testing.T) {
	if !slices.IsSortedFunc(Rules, func(a, b Rule) int { return strings.Compare(a.ID, b.ID) }) {
		t.Error("rules are not sorted by id")
	}
	for i, r := range Rules {
		if r.Title == "" || r.FalsePositives == "" || r.SeverityID < 1 || r.SeverityID > 5 || len(r.Techniques) == 0 || len(r.Tactics) == 0 || r.kind == "" || r.match == nil {
			t.Errorf("incomplete: %+v", r)
		}
		if i > 0 && Rules[i-1].ID == r.ID {
			t.Errorf("%s is there twice", r.ID)
		}
	}
}

// TestTechniques looks techniques and tactics up in the list of ATT&CK.
func TestTechniques(t *testing.T) {
	dir := os.Getenv("AMOSKYS_DATA")
	if dir == "" {
		dir = "../../../shared/data"
	}
	f, err := os.Open(filepath.Join(dir, "attack-techniques.tsv"))
	if err != nil {
		t.Skipf("the list of ATT&CK techniques is not there (AMOSKYS_DATA): %v", err)
	}
	defer f.Close()
	tactics := map[string][]string{}
	for s := bufio.NewScanner(f); s.Scan(); {
		if c := strings.Split(s.Text(), "\t"); len(c) == 3 {
			tactics[c[0]] = strings.Split(c[2], ",")
		}
	}
	for _, r := range Rules {
		var all []string
		for _, id := range r.Techniques {
			if tactics[id] == nil {
				t.Errorf("%s: technique %s does not exist", r.ID, id)
			}
			all = append(all, tactics[id]...)
		}
		for _, x := range r.Tactics {
			if !slices.Contains(all, x) {
				t.Errorf("%s: %s is no tactic of %v", r.ID, x, r.Techniques)
			}
		}
	}
}

func TestFindingsAreBounded(t *testing.T) {
	d := streamstest.New(t, stage(Processor))
	start := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	find := func(i int) {
		d.Derive(schemas.LineageTopic, "t/h", &schemas.LineageRecord{Kind: "exec", Memfd: true, Process: schemas.Process{UID: fmt.Sprint(i), Path: "/memfd:x"}},
			start.Add(time.Duration(i)*time.Millisecond))
	}
	for i := range maxFired + 1 {
		find(i)
	}
	find(maxFired) // remembered
	find(0)        // forgotten
	if n := len(d.Out(schemas.ScoresTopic)); n != maxFired+2 {
		t.Errorf("%d findings, want %d", n, maxFired+2)
	}
}

func TestConfig(t *testing.T) {
	if err := (Config{Disable: []string{"lsass_read"}}).Validate(); err != nil {
		t.Error(err)
	}
	err := Config{Disable: []string{"a", "lsass_read", "b"}}.Validate()
	if err == nil || !strings.Contains(err.Error(), `"a"`) || !strings.Contains(err.Error(), `"b"`) || !strings.Contains(err.Error(), "memfd_execution") {
		t.Errorf("error %v does not name both and what is accepted", err)
	}
	d := streamstest.New(t, stage(New(Config{Disable: []string{"memfd_execution"}})))
	d.Derive(schemas.LineageTopic, "t/h", &schemas.LineageRecord{Kind: "exec", Memfd: true, Process: schemas.Process{UID: "u", Path: "/memfd:x"}}, time.Unix(1, 0))
	if n := len(d.Out(schemas.ScoresTopic)); n != 0 {
		t.Errorf("a disabled rule made %d findings", n)
	}
}

func FuzzRules(f *testing.F) {
	f.Add("sh", "sh -c '", "nginx")
	f.Add("bash", "bash -", "java")
	f.Add("rundll32.exe", "", "winword.exe")
	f.Fuzz(func(t *testing.T, name, cmd, parent string) {
		l := &schemas.LineageRecord{Process: schemas.Process{Name: name, Path: "/tmp/" + name, CmdLine: cmd}, Parent: schemas.Process{Name: parent, CmdLine: cmd},
			Object: cmd, Access: cmd, Memfd: true, Deleted: true}
		for _, r := range Rules {
			r.match(l)
		}
	})
}
