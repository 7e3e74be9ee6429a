package file

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// small is an archive of three segments and an open one, with its files.
func small(t *testing.T, format string) (Config, map[string]string) {
	t.Helper()
	c := config(t.TempDir(), format)
	c.SegmentRecords = 3
	s := open(t, c)
	deliver(t, s, mixed(0, 11))
	s.Close()
	return c, contents(t, c.Dir)
}

func rewrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestVerifyCounts(t *testing.T) {
	for _, format := range []string{formatJSONL, formatAvro} {
		c, files := small(t, format)
		r, err := Verify(c.Dir)
		if err != nil {
			t.Fatal(err)
		}
		var bytes int64
		for name, text := range files {
			if strings.HasSuffix(name, ".jsonl") || strings.HasSuffix(name, ".avro") {
				bytes += int64(len(text))
			}
		}
		p := r.Partitions[0]
		if r.Segments != 3 || r.Records != 11 || r.Bytes != bytes || p.Open != 2 || p.Torn != 0 || p.Last != mixed(10, 11)[0].Offset || len(p.Head) != 64 {
			t.Errorf("%s: %+v", format, r)
		}
	}
	if _, err := Verify(filepath.Join(t.TempDir(), "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// Every changed byte, every cut and every missing file of the sealed part is found, and the file is named.
func TestVerifyFindsEveryChange(t *testing.T) {
	for _, format := range []string{formatJSONL, formatAvro} {
		c, files := small(t, format)
		manifests := 0
		for name, text := range files {
			if strings.HasSuffix(name, ".lock") || strings.HasSuffix(name, ".part") {
				continue
			}
			path := filepath.Join(c.Dir, name)
			manifest := strings.HasSuffix(name, manifestSuffix)
			newest := manifest && strings.Contains(text, fmt.Sprintf(`"first_offset":%d,`, mixed(6, 7)[0].Offset))
			for i := 0; i < len(text); i += 1 + len(text)/150 {
				rewrite(t, path, text[:i]+string(text[i]^1)+text[i+1:])
				if _, err := Verify(c.Dir); !newest && (err == nil || !strings.Contains(err.Error(), c.Dir)) {
					t.Fatalf("%s: byte %d flipped: %v", name, i, err)
				}
				rewrite(t, path, text[:i])
				if _, err := Verify(c.Dir); err == nil {
					t.Fatalf("%s: cut at %d is not found", name, i)
				}
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if _, err := Verify(c.Dir); err == nil && !newest {
				t.Fatalf("%s is missing and not found", name)
			}
			rewrite(t, path, text)
			if manifest {
				manifests++
			}
		}
		if _, err := Verify(c.Dir); err != nil || manifests != 3 {
			t.Fatalf("after mending: %v, %d manifests", err, manifests)
		}
	}
}

// The first record that was changed is named, by its line in a JSON archive.
func TestVerifyNamesTheRecord(t *testing.T) {
	c, files := small(t, formatJSONL)
	for name, text := range files {
		if !strings.HasSuffix(name, ".jsonl") {
			continue
		}
		path := filepath.Join(c.Dir, name)
		lines := strings.SplitAfter(text, "\n")
		for i, change := range []string{strings.Replace(lines[1], "High", "Low_", 1), "", lines[1] + lines[1]} {
			if change == lines[1] {
				continue
			}
			rewrite(t, path, lines[0]+change+lines[2])
			var d *Damage
			_, err := Verify(c.Dir)
			if !errors.As(err, &d) || d.File != path {
				t.Fatalf("change %d: got %v, want damage of %s", i, err, path)
			}
			if want := []int{2, 0, 3}[i]; d.Record != want {
				t.Errorf("change %d: %v; want record %d", i, d, want)
			}
		}
		rewrite(t, path, text)
	}
	x, avro := small(t, formatAvro)
	for name, text := range avro {
		if strings.HasSuffix(name, ".index.avro") {
			rewrite(t, filepath.Join(x.Dir, name), text[:len(text)-40]+strings.Repeat("\x01", 40))
			if _, err := Verify(x.Dir); err == nil || !strings.Contains(err.Error(), "record 1") {
				t.Errorf("got %v, want the record named", err)
			}
			return
		}
	}
}

// Manifests that are whole but in a wrong place, as after files were moved or an archive was pieced together.
func TestVerifyChain(t *testing.T) {
	c, files := small(t, formatJSONL)
	dir := place{mixed(0, 1)[0].Topic, 0}.dir(c.Dir)
	names, err := list(dir)
	if err != nil {
		t.Fatal(err)
	}
	var manifests []string
	for _, n := range names {
		if n.kind == manifestName {
			manifests = append(manifests, n.file)
		}
	}
	read := func(file string) string { return files[filepath.Join(mixed(0, 1)[0].Topic, "0", file)] }
	for _, test := range []struct {
		what string
		do   func()
		want string
	}{
		{"manifest under another name", func() { rewrite(t, filepath.Join(dir, manifests[1]), read(manifests[0])) }, "is about offsets"},
		{"another version", func() {
			rewrite(t, filepath.Join(dir, manifests[0]), strings.Replace(read(manifests[0]), `"version":1`, `"version":2`, 1))
		}, "has version 2"},
		{"of another topic", func() {
			rewrite(t, filepath.Join(dir, manifests[0]), strings.Replace(read(manifests[0]), `"partition":0`, `"partition":1`, 1))
		}, "is about amoskys.alerts.finding.v1/1"},
		{"another format", func() {
			rewrite(t, filepath.Join(dir, manifests[0]), strings.Replace(read(manifests[0]), `"format":"jsonl"`, `"format":"xml"`, 1))
		}, "is not known"},
		{"other sum", func() {
			rewrite(t, filepath.Join(dir, manifests[0]), strings.Replace(read(manifests[0]), `"records":3,`, `"records":4,`, 1))
		}, "does not add up"},
		{"foreign file", func() { rewrite(t, filepath.Join(dir, "note.txt"), "x") }, "belongs to no manifest"},
		{"foreign directory", func() {
			if err := os.MkdirAll(filepath.Join(c.Dir, "a.topic", "x"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, "is no partition"},
	} {
		test.do()
		if _, err := Verify(c.Dir); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", test.what, err, test.want)
		}
		os.RemoveAll(filepath.Join(c.Dir, "a.topic"))
		os.Remove(filepath.Join(dir, "note.txt"))
		for _, m := range manifests {
			rewrite(t, filepath.Join(dir, m), read(m))
		}
	}
	if _, err := Verify(c.Dir); err != nil {
		t.Error(err)
	}
}

// What a partition must not be opened on is named.
func TestOpenDamaged(t *testing.T) {
	b := mixed(0, 11)
	for _, test := range []struct {
		what string
		do   func(dir string, files map[string]string)
		want string
	}{
		{"data is missing", func(dir string, _ map[string]string) {
			os.Remove(filepath.Join(dir, span{6, 9}.String()+".jsonl"))
		}, "no such file"},
		{"manifest of the middle is missing", func(dir string, _ map[string]string) {
			os.Remove(filepath.Join(dir, span{3, 5}.String()+manifestSuffix))
		}, "has no manifest"},
		{"two open segments", func(dir string, _ map[string]string) {
			rewrite(t, filepath.Join(dir, fmt.Sprintf("%020d.jsonl.part", 99)), "")
		}, "are both open"},
		{"open segment inside a sealed one", func(dir string, files map[string]string) {
			os.Rename(filepath.Join(dir, fmt.Sprintf("%020d.jsonl.part", 10)), filepath.Join(dir, fmt.Sprintf("%020d.jsonl.part", 9)))
		}, "has offset 10"},
		{"open segment from a sealed one", func(dir string, files map[string]string) {
			text, _ := os.ReadFile(filepath.Join(dir, span{6, 9}.String()+".jsonl"))
			lines := strings.SplitAfter(string(text), "\n")
			os.Remove(filepath.Join(dir, fmt.Sprintf("%020d.jsonl.part", 10)))
			rewrite(t, filepath.Join(dir, fmt.Sprintf("%020d.jsonl.part", 8)), lines[1])
		}, "overlaps"},
		{"overlapping manifests", func(dir string, files map[string]string) {
			rewrite(t, filepath.Join(dir, span{4, 7}.String()+manifestSuffix), "")
		}, "overlaps"},
		{"order in the open segment", func(dir string, files map[string]string) {
			part := filepath.Join(dir, fmt.Sprintf("%020d.jsonl.part", 10))
			text, _ := os.ReadFile(part)
			rewrite(t, part, string(text)+string(text))
		}, "does not follow"},
	} {
		c, files := small(t, formatJSONL)
		test.do(place{b[0].Topic, 0}.dir(c.Dir), files)
		s := open(t, c)
		if _, _, err := s.Resume(b[0].Topic, 0); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.what, err, test.want)
		}
		s.Close()
	}
}
