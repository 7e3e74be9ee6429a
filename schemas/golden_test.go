package schemas_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/amoskys/amoskys/schemas"
	"github.com/linkedin/goavro/v2"
	"github.com/twmb/avro"
)

// testdata/golden has, for each version of each schema, the schema as it was written with (NAME.vN.avsc) and a value in
// which every field is set (NAME.vN.bin, an Avro body without header). RELEASED lists what has been released, with the
// SHA-256 of both files: those are never written again, and decode for ever.
//
// UPDATE=1 writes the newest version of what has changed: over the newest one if that is not in RELEASED, as version N+1 if
// it is. RELEASE=1 adds to RELEASED what is not in it: it is run once for each release.
const (
	goldenDir = "testdata/golden"
	released  = goldenDir + "/RELEASED"
)

var goldenForm = regexp.MustCompile(`^([A-Za-z]+)\.v(\d+)\.avsc$`)

// versions are the stored versions of each schema, ascending from 1.
func versions(t *testing.T) map[string]int {
	t.Helper()
	es, err := os.ReadDir(goldenDir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]int{}
	for _, e := range es {
		if m := goldenForm.FindStringSubmatch(e.Name()); m != nil {
			n, err := strconv.Atoi(m[2])
			if err != nil {
				t.Fatal(err)
			}
			all[m[1]] = append(all[m[1]], n)
		}
	}
	newest := map[string]int{}
	for name, ns := range all {
		slices.Sort(ns)
		for i, n := range ns {
			if n != i+1 {
				t.Errorf("schema %s has version %d but not %d", name, n, i+1)
			}
		}
		newest[name] = len(ns)
	}
	return newest
}

func goldenPath(name string, version int, ext string) string {
	return filepath.Join(goldenDir, fmt.Sprintf("%s.v%d.%s", name, version, ext))
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sums are the released versions: "NAME.vN" to the hash of both files.
func sums(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	s := bufio.NewScanner(bytes.NewReader(read(t, released)))
	for s.Scan() {
		if line := s.Text(); line != "" && line[0] != '#' {
			key, sum, ok := strings.Cut(line, " ")
			if !ok || out[key] != "" {
				t.Errorf("RELEASED: line %q", line)
			}
			out[key] = sum
		}
	}
	return out
}

func sumOf(t *testing.T, name string, version int) string {
	t.Helper()
	h := sha256.Sum256(slices.Concat(read(t, goldenPath(name, version, "avsc")), read(t, goldenPath(name, version, "bin"))))
	return hex.EncodeToString(h[:])
}

// essence is a schema without its docs: what decides how values are written.
func essence(t testing.TB, text []byte) string {
	t.Helper()
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	var strip func(any)
	strip = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			delete(v, "doc")
			for _, x := range v {
				strip(x)
			}
		case []any:
			for _, x := range v {
				strip(x)
			}
		}
	}
	strip(v)
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The newest golden version of every schema is the present one.
func TestGoldenIsPresent(t *testing.T) {
	newest, rel := versions(t), sums(t)
	for _, name := range schemas.Names() {
		x, n := lookup(t, name), newest[name]
		present := false
		if n > 0 {
			present = essence(t, read(t, goldenPath(name, n, "avsc"))) == essence(t, []byte(x.Text))
		}
		if present {
			continue
		}
		isReleased := rel[fmt.Sprintf("%s.v%d", name, n)] != ""
		if os.Getenv("UPDATE") == "" {
			t.Errorf("schema %s is not as in its golden version %d (released: %v): look at what changed, then run UPDATE=1 go test ./schemas", name, n, isReleased)
			continue
		}
		if n == 0 || isReleased {
			n++
		}
		write(t, name, n, x)
	}
	for name := range newest {
		if _, ok := schemas.Lookup(name); !ok {
			t.Errorf("schema %s is gone: records of it cannot be read any more", name)
		}
	}
}

func write(t *testing.T, name string, version int, x *schemas.Schema) {
	t.Helper()
	body, err := x.AppendBody(nil, filled(t, name))
	if err != nil {
		t.Fatal(err)
	}
	for ext, b := range map[string][]byte{"avsc": []byte(x.Text), "bin": body} {
		if err := os.WriteFile(goldenPath(name, version, ext), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("wrote version %d of %s", version, name)
}

// What was released is as it was.
func TestReleasedIsUntouched(t *testing.T) {
	rel := sums(t)
	for key, want := range rel {
		name, v, _ := strings.Cut(key, ".v")
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Errorf("RELEASED: %q is no version", key)
			continue
		}
		if got := sumOf(t, name, n); got != want {
			t.Errorf("golden version %s was released and has been changed: bring it back, and make version %d", key, n+1)
		}
	}
	if os.Getenv("RELEASE") == "" {
		return
	}
	f, err := os.OpenFile(released, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range schemas.Names() {
		n := versions(t)[name]
		if key := fmt.Sprintf("%s.v%d", name, n); rel[key] == "" {
			fmt.Fprintf(f, "%s %s\n", key, sumOf(t, name, n))
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// Every stored version can be read with the present schemas (BACKWARD_TRANSITIVE): by the rules of Avro, by decoding its
// golden value, and no field of it is lost or changed.
func TestEveryVersionIsReadable(t *testing.T) {
	for name, newest := range versions(t) {
		now := lookup(t, name)
		reader, err := avro.Parse(now.Text)
		if err != nil {
			t.Fatal(err)
		}
		for n := 1; n <= newest; n++ {
			text, body := read(t, goldenPath(name, n, "avsc")), read(t, goldenPath(name, n, "bin"))
			writer, err := avro.Parse(string(text))
			if err != nil {
				t.Fatalf("%s version %d: %v", name, n, err)
			}
			if err := avro.CheckCompatibility(writer, reader); err != nil {
				t.Errorf("%s version %d cannot be read any more: %v", name, n, err)
				continue
			}
			s, r := serde(t)
			id, err := r.Register(t.Context(), now.Subject(), string(text))
			if err != nil {
				t.Fatal(err)
			}
			v, err := s.Decode(t.Context(), frame(id, body))
			if err != nil {
				t.Errorf("%s version %d: %v", name, n, err)
				continue
			}
			again, err := now.AppendBody(nil, v)
			if err != nil {
				t.Fatal(err)
			}
			covers(t, fmt.Sprintf("%s version %d", name, n), native(t, now.Text, again), native(t, string(text), body))
			if n == newest && !reflect.DeepEqual(v, filled(t, name)) {
				t.Errorf("%s: the golden value of version %d is not what the present code writes: run UPDATE=1 go test ./schemas", name, n)
			}
		}
	}
}

func frame(id int32, body []byte) []byte {
	return append([]byte{0, byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id)}, body...)
}

// native decodes a body with the other Avro implementation.
func native(t testing.TB, text string, body []byte) any {
	t.Helper()
	c, err := goavro.NewCodec(text)
	if err != nil {
		t.Fatal(err)
	}
	v, rest, err := c.NativeFromBinary(body)
	if err == nil && len(rest) > 0 {
		err = errors.New("bytes left over")
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// covers checks that now has everything that was has.
func covers(t *testing.T, path string, now, was any) {
	t.Helper()
	switch was := was.(type) {
	case map[string]any:
		m, ok := now.(map[string]any)
		if !ok {
			t.Errorf("%s is a %T", path, now)
			return
		}
		for k, v := range was {
			if _, ok := m[k]; !ok {
				t.Errorf("%s.%s is gone", path, k)
				continue
			}
			covers(t, path+"."+k, m[k], v)
		}
	case []any:
		l, ok := now.([]any)
		if !ok || len(l) != len(was) {
			t.Errorf("%s is %v, was %v", path, now, was)
			return
		}
		for i := range was {
			covers(t, fmt.Sprintf("%s[%d]", path, i), l[i], was[i])
		}
	default:
		if !reflect.DeepEqual(now, was) {
			t.Errorf("%s is %v, was %v", path, now, was)
		}
	}
}

// The check itself finds what it is there for.
func TestCompatibilityCheck(t *testing.T) {
	const head = `{"type":"record","name":"Tick","namespace":"amoskys","fields":[`
	writer, err := avro.Parse(head + `{"name":"a","type":"long"},{"name":"b","type":"string"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		fields string
		ok     bool
	}{
		"new field with a default":    {`{"name":"a","type":"long"},{"name":"b","type":"string"},{"name":"c","type":"int","default":0}`, true},
		"new field without a default": {`{"name":"a","type":"long"},{"name":"b","type":"string"},{"name":"c","type":"int"}`, false},
		"other type":                  {`{"name":"a","type":"string"},{"name":"b","type":"string"}`, false},
		"narrower type":               {`{"name":"a","type":"int"},{"name":"b","type":"string"}`, false},
		"wider type":                  {`{"name":"a","type":"double"},{"name":"b","type":"string"}`, true},
	} {
		reader, err := avro.Parse(head + c.fields + "]}")
		if err != nil {
			t.Fatal(err)
		}
		if err := avro.CheckCompatibility(writer, reader); (err == nil) != c.ok {
			t.Errorf("%s: %v", what, err)
		}
	}
}
