package durable

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestMakeDirs(t *testing.T) {
	dir := t.TempDir()
	deep := filepath.Join(dir, "a", "b", "c")
	for range 2 {
		if err := MakeDirs(deep); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(deep); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, err %v; want a directory for its owner only", info.Mode(), err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(file, "below")} {
		if err := MakeDirs(path); err == nil {
			t.Errorf("MakeDirs(%s) made a directory of a file", path)
		}
	}
}

func TestWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	for _, content := range []string{"first", "second, longer", ""} {
		if err := WriteFile(path, []byte(content), 0o440); err != nil {
			t.Fatal(err)
		}
		if got := read(t, path); got != content {
			t.Errorf("got %q, want %q", got, content)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o440 {
		t.Errorf("mode %v, err %v; want 0440", info.Mode(), err)
	}
	if err := WriteFile(filepath.Join(path, "no"), nil, 0o600); err == nil {
		t.Error("a file was written into a file")
	}
	taken := filepath.Join(t.TempDir(), "taken")
	if err := os.MkdirAll(filepath.Join(taken, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(taken, []byte("x"), 0o600); err == nil {
		t.Error("a directory was replaced by a file")
	}
	left, err := os.ReadDir(filepath.Dir(taken))
	if err != nil || len(left) != 1 {
		t.Errorf("%d names are left, err %v; want no temporary file", len(left), err)
	}
}

// What a crash has left of an earlier attempt, even one that was finished and read-only, is in nobody's way.
func TestWriteFileAfterCrash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path+".tmp", []byte("half"), 0o400); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(path, []byte("whole"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := read(t, path); got != "whole" {
		t.Errorf("got %q", got)
	}
	if _, err := os.Stat(path + ".tmp"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the temporary file is there: %v", err)
	}
}

func TestLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := OpenLog(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"one\n", "two\n"} {
		if err := l.Append([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	if l.Size() != 8 {
		t.Errorf("size %d, want 8", l.Size())
	}
	l.Close()
	if err := l.Append([]byte("three\n")); err == nil {
		t.Error("a closed log took more")
	}

	// What lies behind the sound size is cut off.
	if l, err = OpenLog(path, 4); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Append([]byte("2\n")); err != nil {
		t.Fatal(err)
	}
	if got := read(t, path); got != "one\n2\n" {
		t.Errorf("got %q", got)
	}

	// A write that failed half-way is cut off before the next one.
	if err := os.WriteFile(path, []byte("one\n2\nthr"), 0o600); err != nil {
		t.Fatal(err)
	}
	l.torn = true
	if err := l.Append([]byte("3\n")); err != nil {
		t.Fatal(err)
	}
	if got := read(t, path); got != "one\n2\n3\n" {
		t.Errorf("got %q", got)
	}

	// A file that lost what was promised is not filled with holes.
	if err := os.Truncate(path, 3); err != nil {
		t.Fatal(err)
	}
	l.torn = true
	if err := l.Append([]byte("4\n")); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want an error that names the file", err)
	}
	if _, err := OpenLog(path, 100); err == nil {
		t.Error("a log was opened at a size that it does not have")
	}
}
