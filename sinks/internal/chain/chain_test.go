package chain

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func lines(from, to int64) (out []Line) {
	for i := from; i < to; i++ {
		out = append(out, Line{Key: "k", Offset: 2 * i, Schema: "S", Value: json.RawMessage(fmt.Sprintf(`{"n":%d}`, i))})
	}
	return out
}

// archive writes a small one: two closed segments and an open one.
func archive(t *testing.T) (dir, head string) {
	t.Helper()
	dir = t.TempDir()
	l, err := Open(dir, Options{MaxRecords: 4})
	if err != nil {
		t.Fatal(err)
	}
	for i := int64(0); i < 10; i += 2 {
		if err := l.Append(lines(i, i+2)); err != nil {
			t.Fatal(err)
		}
	}
	head = l.Head()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, head
}

func problems(t *testing.T, dir, head string) []string {
	t.Helper()
	r, err := Verify(dir, head)
	if err != nil {
		return []string{err.Error()}
	}
	return r.Problems
}

func TestWholeArchiveIsGood(t *testing.T) {
	dir, head := archive(t)
	r, err := Verify(dir, head)
	if err != nil || len(r.Problems) != 0 || r.Records != 10 || r.Segments != 2 || r.Head != head {
		t.Fatalf("%+v, %v", r, err)
	}
	i, err := os.Stat(filepath.Join(dir, fmt.Sprintf("%020d-%020d.jsonl", 0, 6)))
	if err != nil || i.Mode().Perm() != 0o444 {
		t.Errorf("a closed segment is not read-only: %v, %v", i, err)
	}
}

func TestEveryFlippedByteIsFound(t *testing.T) {
	dir, head := archive(t)
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, f := range files {
		if filepath.Base(f) == headFile {
			continue // compared below
		}
		good, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		os.Chmod(f, 0o600)
		for i := range good {
			bad := append([]byte(nil), good...)
			bad[i] ^= 1
			if err := os.WriteFile(f, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			if len(problems(t, dir, head)) == 0 {
				t.Fatalf("%s: flipping byte %d is not found", filepath.Base(f), i)
			}
		}
		if err := os.WriteFile(f, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEveryCutIsFound(t *testing.T) {
	dir, head := archive(t)
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, f := range files {
		if filepath.Base(f) == headFile {
			continue
		}
		good, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		os.Chmod(f, 0o600)
		for n := range good {
			if err := os.WriteFile(f, good[:n], 0o600); err != nil {
				t.Fatal(err)
			}
			if len(problems(t, dir, head)) == 0 {
				t.Fatalf("%s cut to %d bytes is not found", filepath.Base(f), n)
			}
		}
		os.Remove(f)
		if len(problems(t, dir, head)) == 0 {
			t.Fatalf("%s removed is not found", filepath.Base(f))
		}
		if err := os.WriteFile(f, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRewrittenArchiveIsFoundByAHeadKeptElsewhere(t *testing.T) {
	_, head := archive(t)
	dir := t.TempDir()
	l, err := Open(dir, Options{MaxRecords: 4})
	if err != nil {
		t.Fatal(err)
	}
	forged := lines(0, 10)
	forged[3].Value = json.RawMessage(`{"n":-1}`)
	if err := l.Append(forged); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if len(problems(t, dir, "")) != 0 {
		t.Fatal("the forged archive is not whole in itself")
	}
	if len(problems(t, dir, head)) == 0 {
		t.Error("a rewritten archive has the old head")
	}
}

func TestCrashAtEveryLengthGoesOn(t *testing.T) {
	dir, _ := archive(t)
	want, err := Verify(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	part := filepath.Join(dir, partFile)
	good, err := os.ReadFile(part)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(good) + 1 {
		if err := os.WriteFile(part, good[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Open(dir, Options{MaxRecords: 4})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Append(lines(0, 10)); err != nil { // everything comes again
			t.Fatal(err)
		}
		l.Close()
		if r, err := Verify(dir, want.Head); err != nil || len(r.Problems) != 0 || r.Records != 10 || r.Head != want.Head {
			t.Fatalf("after a crash with %d bytes: %+v, %v", n, r, err)
		}
	}
}

func TestSameLogSameSegments(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	for dir, batch := range map[string]int64{a: 1, b: 7} {
		l, err := Open(dir, Options{MaxRecords: 5})
		if err != nil {
			t.Fatal(err)
		}
		for i := int64(0); i < 21; i += batch {
			if err := l.Append(lines(i, min(21, i+batch))); err != nil {
				t.Fatal(err)
			}
		}
		l.Close()
	}
	files, _ := filepath.Glob(filepath.Join(a, "*"))
	for _, f := range files {
		x, _ := os.ReadFile(f)
		y, err := os.ReadFile(filepath.Join(b, filepath.Base(f)))
		if err != nil || string(x) != string(y) {
			t.Errorf("%s differs: %v", filepath.Base(f), err)
		}
	}
}
