package integration

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The blocks of the guide: files by their names, the topic by that of its variable, and what is typed into a shell.
var (
	guideFile  = regexp.MustCompile("(?ms)^`([^`\n]+)`:\n\n```\\w*\n(.*?)^```$")
	guideTopic = regexp.MustCompile("(?ms)^```go\n(\tDestinationsTopic = .*?)^```$")
	guideShell = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")
)

// TestGuide: who follows docs/add-a-processor.md as it is written has a processor that works, is tested, and is listed.
func TestGuide(t *testing.T) {
	text, err := os.ReadFile("../docs/add-a-processor.md")
	if err != nil {
		t.Fatal(err)
	}
	root := copyTree(t)
	files := guideFile.FindAllSubmatch(text, -1)
	if len(files) != 4 {
		t.Fatalf("the guide names %d files, want its schema, processor, scenario and test", len(files))
	}
	for _, m := range files {
		write(t, filepath.Join(root, string(m[1])), m[2])
	}
	topic := guideTopic.FindSubmatch(text)
	if topic == nil {
		t.Fatal("the guide declares no topic")
	}
	edit(t, filepath.Join(root, "schemas/topics.go"), "\tScoresTopic = ", string(topic[1])+"\tScoresTopic = ", "ScoresTopic, ", "DestinationsTopic, ScoresTopic, ")
	edit(t, filepath.Join(root, "processors/processors.go"), "import (\n", "import (\n\t\"github.com/amoskys/amoskys/processors/newdestination\"\n",
		"features.Processor, ", "features.Processor, newdestination.Processor, ")
	for _, m := range guideShell.FindAllSubmatch(text, -1) {
		shell(t, root, string(m[1]))
	}
	if drawn := shell(t, root, "go run ./cmd/amoskys describe"); !strings.Contains(drawn, "subgraph stage_new_destination") {
		t.Errorf("the new stage is not in the topology:\n%s", drawn)
	}
	shell(t, root, "go test ./internal/lint")
	scenario, err := os.ReadFile(filepath.Join(root, "processors/newdestination/testdata/minute.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	_, want, _ := strings.Cut(string(scenario), "-- want.jsonl --\n")
	lines := strings.Split(strings.TrimSpace(want), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], `"destinations":2}`) || !strings.Contains(lines[1], `"revision":1,"destinations":3}`) {
		t.Errorf("the scenario gives other records than the guide says:\n%s", want)
	}
}

// copyTree copies the source tree, without what is built or hidden.
func copyTree(t *testing.T) string {
	t.Helper()
	to := t.TempDir()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		rel, rerr := filepath.Rel("..", path)
		if err != nil || rerr != nil {
			return err
		}
		if d.IsDir() && rel != "." && (strings.HasPrefix(d.Name(), ".") || rel == "bin") {
			return filepath.SkipDir
		}
		if !d.Type().IsRegular() {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		write(t, filepath.Join(to, rel), b)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// edit replaces texts by others, each of which is in the file.
func edit(t *testing.T, path string, pairs ...string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for pair := range slices.Chunk(pairs, 2) {
		if !bytes.Contains(b, []byte(pair[0])) {
			t.Fatalf("%s has no %q", path, pair[0])
		}
		b = bytes.Replace(b, []byte(pair[0]), []byte(pair[1]), 1)
	}
	write(t, path, b)
}

// shell runs what the guide has typed, and fails the test where that fails.
func shell(t *testing.T, dir, script string) string {
	t.Helper()
	cmd := exec.Command("sh", "-e", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-trimpath") // what is built does not depend on the folder, and is built once
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}
