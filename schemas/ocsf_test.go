package schemas_test

import (
	"archive/tar"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/amoskys/amoskys/schemas"
	"github.com/klauspost/compress/zstd"
)

// ocsf is what the tests need of the OCSF schema: files by their path below its root.
type ocsf struct {
	events  map[string]*ocsfItem // by name
	objects map[string]*ocsfItem
	types   map[string]string // attribute -> type, by the dictionaries
	enums   map[string]map[string]ocsfEnum
	uids    map[string]int // category -> uid
}

type ocsfItem struct {
	UID        int            `json:"uid"`
	Caption    string         `json:"caption"`
	Name       string         `json:"name"`
	Category   string         `json:"category"`
	Extends    string         `json:"extends"`
	Attributes ocsfAttributes `json:"attributes"`
	extension  int            // uid of the extension; 0 for the core
}

type ocsfAttributes map[string]ocsfAttribute

// UnmarshalJSON passes over what is no attribute, such as $include.
func (as *ocsfAttributes) UnmarshalJSON(text []byte) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil {
		return err
	}
	*as = ocsfAttributes{}
	for k, v := range raw {
		var a ocsfAttribute
		if json.Unmarshal(v, &a) == nil {
			(*as)[k] = a
		}
	}
	return nil
}

type ocsfAttribute struct {
	Type string              `json:"type"`
	Enum map[string]ocsfEnum `json:"enum"`
}

type ocsfEnum struct {
	Caption string `json:"caption"`
}

func readOCSF(t *testing.T) *ocsf {
	t.Helper()
	dir := cmp.Or(os.Getenv("AMOSKYS_DATA"), filepath.Join("..", "..", "shared", "data"))
	in, err := os.Open(filepath.Join(dir, "ocsf-schema.tar.zst"))
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("the OCSF schema is not in %s; AMOSKYS_DATA says where it is", dir)
	} else if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	z, err := zstd.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	files := map[string][]byte{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, name, _ := strings.Cut(h.Name, "/"); strings.HasSuffix(name, ".json") {
			if files[name], err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	return parseOCSF(t, files)
}

func parseOCSF(t *testing.T, files map[string][]byte) *ocsf {
	t.Helper()
	o := &ocsf{map[string]*ocsfItem{}, map[string]*ocsfItem{}, map[string]string{}, map[string]map[string]ocsfEnum{}, map[string]int{}}
	extensions := map[string]int{}
	for name, text := range files {
		if path.Base(name) == "extension.json" {
			var x ocsfItem
			if err := json.Unmarshal(text, &x); err != nil {
				t.Fatal(err)
			}
			extensions[path.Dir(name)] = x.UID
		}
	}
	for name, text := range files {
		parts := strings.Split(name, "/")
		var extension int
		if parts[0] == "extensions" && len(parts) > 2 {
			extension, parts = extensions[strings.Join(parts[:2], "/")], parts[2:]
		}
		var x ocsfItem
		switch {
		case parts[0] == "events", parts[0] == "objects":
			if err := json.Unmarshal(text, &x); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			x.extension = extension
			if x.Name == "" {
				x.Name = x.Extends // an extension adds to an item of the core
			}
			if parts[0] == "events" && o.events[x.Name] == nil {
				o.events[x.Name] = &x
			} else if parts[0] == "objects" && (o.objects[x.Name] == nil || extension == 0) {
				o.objects[x.Name] = &x
			}
		case parts[0] == "dictionary.json":
			if err := json.Unmarshal(text, &x); err != nil {
				t.Fatal(err)
			}
			for k, a := range x.Attributes {
				o.types[k], o.enums[k] = a.Type, a.Enum
			}
		case parts[0] == "categories.json":
			var c struct {
				Attributes map[string]ocsfItem `json:"attributes"`
			}
			if err := json.Unmarshal(text, &c); err != nil {
				t.Fatal(err)
			}
			for k, a := range c.Attributes {
				o.uids[k] = a.UID
			}
		}
	}
	return o
}

// class finds an event class by its class_uid: extension, category and class make the number.
func (o *ocsf) class(uid int) *ocsfItem {
	for _, e := range o.events {
		if e.UID == 0 {
			continue
		}
		category := ""
		for x := e; x != nil && category == ""; x = o.events[x.Extends] {
			category = x.Category
		}
		if e.extension*100_000+o.uids[category]*1000+e.UID == uid {
			return e
		}
	}
	return nil
}

func (o *ocsf) activity(e *ocsfItem, id string) string {
	for x := e; x != nil; x = o.events[x.Extends] {
		if a, ok := x.Attributes["activity_id"].Enum[id]; ok {
			return a.Caption
		}
	}
	return ""
}

// has says whether an object has an attribute, and what object that one is, if it is one.
func (o *ocsf) has(object, attribute string) (string, bool) {
	for x := o.objects[object]; x != nil; x = o.objects[x.Extends] {
		if a, ok := x.Attributes[attribute]; ok {
			return cmp.Or(a.Type, o.types[attribute]), true
		}
		if x.Extends == x.Name {
			break
		}
	}
	return "", false
}

var (
	ocsfClass    = regexp.MustCompile(`([A-Z][A-Za-z]*(?: [A-Z][A-Za-z]*)*) (\d{4,6})\b`)
	ocsfActivity = regexp.MustCompile(`, ([A-Z][A-Za-z ]*) (\d{1,2})\b`)
	ocsfPath     = regexp.MustCompile(`OCSF ([a-z_]+(?:\.[a-z_]+)+)`)
)

// Every OCSF class, activity and path that the docs of our schemas name is in OCSF, under the name and number they give.
func TestOCSFNumbers(t *testing.T) {
	o := readOCSF(t)
	files, err := filepath.Glob("avsc/*.avsc")
	if err != nil {
		t.Fatal(err)
	}
	classes, activities, paths := 0, 0, 0
	for _, file := range files {
		var d struct {
			Doc    string
			Fields []struct{ Doc string }
		}
		if err := json.Unmarshal(read(t, file), &d); err != nil {
			t.Fatal(err)
		}
		docs := []string{d.Doc}
		for _, f := range d.Fields {
			docs = append(docs, f.Doc)
		}
		for _, doc := range docs {
			_, cited, ok := strings.Cut(doc, "OCSF ")
			if !ok {
				continue
			}
			var last *ocsfItem
			for _, m := range ocsfClass.FindAllStringSubmatch(cited, -1) {
				uid, err := strconv.Atoi(m[2])
				if err != nil {
					t.Fatal(err)
				}
				if last = o.class(uid); last == nil || last.Caption != m[1] && !strings.HasPrefix(last.Caption, m[1]) {
					t.Errorf("%s: OCSF has no class %s %d (it is %+v)", file, m[1], uid, last)
				}
				classes++
			}
			for _, m := range ocsfActivity.FindAllStringSubmatch(cited, -1) {
				if last != nil && o.activity(last, m[2]) != m[1] {
					t.Errorf("%s: activity %s of OCSF %s is %q, not %q", file, m[2], last.Caption, o.activity(last, m[2]), m[1])
				}
				activities++
			}
			for _, m := range ocsfPath.FindAllStringSubmatch(doc, -1) {
				steps := strings.Split(m[1], ".")
				object := steps[0]
				for _, s := range steps[1:] {
					next, ok := o.has(object, s)
					if !ok {
						t.Errorf("%s: OCSF %s: %s has no %s", file, m[1], object, s)
					}
					object = next
				}
				paths++
			}
		}
	}
	if classes < 12 || activities < 8 || paths < 4 {
		t.Errorf("only %d classes, %d activities and %d paths were found in the docs", classes, activities, paths)
	}
	for id, word := range schemas.Severities {
		if got := o.enums["severity_id"][strconv.Itoa(id)].Caption; got != word {
			t.Errorf("severity %d is %s in OCSF, not %s", id, got, word)
		}
	}
}
