package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The types that are in the tree are the ones that the schemas give.
func TestTypesAreUpToDate(t *testing.T) {
	out := filepath.Join(t.TempDir(), "types_gen.go")
	if err := run(filepath.Join("..", "..", "avsc"), out); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join("..", "..", "types_gen.go"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Error("types_gen.go is not what the schemas give: run go generate ./schemas")
	}
}

func TestWhatHasNoGoForm(t *testing.T) {
	for text, want := range map[string]string{
		`{`: "parse",
		`{"name":"X","fields":[{"name":"a","type":{"type":"map","values":"int"}}]}`:           "field a",
		`{"name":"X","fields":[{"name":"a","type":7}]}`:                                       "field a",
		`{"name":"X","fields":[{"name":"a","type":{"type":"array","items":["null","int"]}}]}`: "field a",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "x.avsc"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(dir, "out.go")
		if err := run(dir, out); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%s: something was written", text)
		}
	}
}

func TestGoName(t *testing.T) {
	for name, want := range map[string]string{"class_uid": "ClassUID", "sha256": "SHA256", "p_value": "PValue", "ip": "IP", "created_time": "CreatedTime"} {
		if got := goName(name); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}
