package audit

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// archive makes a small one, of two full segments and an open one.
func archive(t *testing.T) (dir string, files map[string]string, head string) {
	t.Helper()
	dir = t.TempDir()
	s, err := newSink(Config{Dir: dir}, 4, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Deliver(t.Context(), batch(0, 10)); err != nil {
		t.Fatal(err)
	}
	head = s.head.Hash
	s.Close()
	files = contents(t, dir)
	delete(files, ".lock")
	return dir, files, head
}

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.Chmod(path, 0o600); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func problems(t *testing.T, dir, head string) []string {
	t.Helper()
	r, err := Verify(dir, head)
	if err != nil {
		t.Fatal(err)
	}
	return r.Problems
}

func TestVerifyWhole(t *testing.T) {
	dir, _, head := archive(t)
	r, err := Verify(dir, head)
	if err != nil || len(r.Problems) > 0 || r.Records != 10 || r.Segments != 3 || r.Head != head || r.Torn != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	empty := t.TempDir()
	open(t, empty).Close()
	if r, err := Verify(empty, ""); err != nil || len(r.Problems) > 0 || r.Records != 0 {
		t.Errorf("an archive without records: %+v, %v", r, err)
	}
	if _, err := Verify(filepath.Join(dir, "missing"), ""); err == nil {
		t.Error("no archive at all is verified")
	}
	if len(problems(t, t.TempDir(), "")) == 0 {
		t.Error("a directory that is no archive has no problem")
	}
}

func TestEveryFlippedBitIsFound(t *testing.T) {
	dir, files, _ := archive(t)
	for name, text := range files {
		for i := range len(text) {
			bit := byte(1) << (i % 8)
			put(t, dir, name, text[:i]+string([]byte{text[i] ^ bit})+text[i+1:])
			if len(problems(t, dir, "")) == 0 {
				t.Fatalf("%s: bit %d of byte %d flipped and not found", name, i%8, i)
			}
		}
		put(t, dir, name, text)
	}
	if p := problems(t, dir, ""); len(p) > 0 {
		t.Fatal(p)
	}
}

func TestEveryCutIsFound(t *testing.T) {
	dir, files, _ := archive(t)
	for name, text := range files {
		for n := range len(text) {
			put(t, dir, name, text[:n])
			if len(problems(t, dir, "")) == 0 {
				t.Fatalf("%s: cut at %d and not found", name, n)
			}
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if len(problems(t, dir, "")) == 0 {
			t.Fatalf("%s: removed and not found", name)
		}
		put(t, dir, name, text)
	}
}

// Every record that is removed, doubled or swapped with its neighbour is found, and named.
func TestEveryMovedRecordIsFound(t *testing.T) {
	dir, files, _ := archive(t)
	for name, text := range files {
		if name == headFile {
			continue
		}
		ls := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
		ls[len(ls)-1] += "\n"
		for i := range ls {
			removed := slices.Delete(slices.Clone(ls), i, i+1)
			doubled := slices.Insert(slices.Clone(ls), i, ls[i])
			swapped := slices.Clone(ls)
			j := (i + 1) % len(ls)
			swapped[i], swapped[j] = ls[j], ls[i]
			for what, x := range map[string][]string{"removed": removed, "doubled": doubled, "swapped": swapped} {
				put(t, dir, name, strings.Join(x, ""))
				if p := problems(t, dir, ""); len(p) == 0 || !strings.Contains(strings.Join(p, " "), "record") {
					t.Errorf("%s: line %d %s: %q", name, i+1, what, p)
				}
			}
		}
		put(t, dir, name, text)
	}
}

func TestProblemsNameWhatIsWrong(t *testing.T) {
	dir, files, head := archive(t)
	second := filepath.Base(segmentPath(dir, 5))
	ls := strings.SplitAfter(files[second], "\n")
	changed := strings.Replace(ls[1], "root@h", "boot@h", 1)
	for _, c := range []struct{ what, name, text, want string }{
		{"flipped", second, ls[0] + changed + ls[2] + ls[3], second + ": line 3: record 7 does not follow record 6"},
		{"missing", second, ls[0] + ls[2] + ls[3], second + ": line 2: records 6 to 6 are missing"},
		{"swapped", second, ls[0] + ls[2] + ls[1] + ls[3], second + ": line 3 is record 6, but comes after record 7"},
		{"cut", second, files[second][:len(files[second])-5], second + ": line 4 is cut"},
		{"no record", second, ls[0] + "garbage\n" + ls[2] + ls[3], second + ": line 2 is no record"},
		{"empty", second, "", second + " is empty"},
		{"cut end", filepath.Base(segmentPath(dir, 9)), "", "head.json names record 10, but the last one is 8"},
		{"head", headFile, strings.Replace(files[headFile], head[:8], "00000000", 1), "record 10 is not the one that head.json names"},
		{"head of nothing", headFile, `{"hash":"` + zero + `","offset":7,"sequence":0}` + "\n", "head.json was changed"},
		{"head form", headFile, files[headFile] + "\n", "head.json is not as it was written"},
	} {
		put(t, dir, c.name, c.text)
		if p := problems(t, dir, ""); len(p) == 0 || !strings.Contains(strings.Join(p, "\n"), c.want) {
			t.Errorf("%s: got %q, want %q", c.what, p, c.want)
		}
		put(t, dir, c.name, files[c.name])
	}
	if err := os.Remove(filepath.Join(dir, second)); err != nil {
		t.Fatal(err)
	}
	if p := problems(t, dir, ""); !strings.Contains(strings.Join(p, "\n"), "records 5 to 8 are missing") {
		t.Errorf("missing segment: %q", p)
	}
}

// A new archive of other facts is whole in itself: only a head that was kept elsewhere gives it away.
func TestHeadThatWasKeptElsewhere(t *testing.T) {
	dir, _, head := archive(t)
	forged := t.TempDir()
	s := open(t, forged)
	b := batch(0, 10)
	b[3].Timestamp++
	if err := s.Deliver(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if p := problems(t, forged, ""); len(p) > 0 {
		t.Errorf("the forged archive has problems of its own: %q", p)
	}
	if p := problems(t, forged, head); len(p) != 1 || !strings.Contains(p[0], head) {
		t.Errorf("got %q", p)
	}

	// The archive may have grown since.
	s = open(t, dir)
	if err := s.Deliver(t.Context(), batch(0, 20)); err != nil {
		t.Fatal(err)
	}
	if p := problems(t, dir, head); len(p) > 0 { // while it is open, too
		t.Error(p)
	}
}

func FuzzVerify(f *testing.F) {
	s, err := newSink(Config{Dir: f.TempDir()}, 4, nil)
	if err != nil {
		f.Fatal(err)
	}
	if err := s.Deliver(f.Context(), batch(0, 3)); err != nil {
		f.Fatal(err)
	}
	text, err := os.ReadFile(segmentPath(s.cfg.Dir, 1))
	if err != nil {
		f.Fatal(err)
	}
	end, err := os.ReadFile(filepath.Join(s.cfg.Dir, headFile))
	if err != nil {
		f.Fatal(err)
	}
	s.Close()
	f.Add(text, end)
	f.Add([]byte("{}\n{}\n"), []byte("{}"))
	f.Fuzz(func(t *testing.T, segment, told []byte) {
		dir := t.TempDir()
		put(t, dir, filepath.Base(segmentPath(dir, 1)), string(segment))
		put(t, dir, headFile, string(told))
		r, err := Verify(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Problems) > 0 {
			return
		}
		if s, err := newSink(Config{Dir: dir}, 4, nil); err != nil {
			t.Errorf("an archive without problems is not opened: %v", err)
		} else {
			s.Close()
		}
	})
}
