package schemas_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/amoskys/amoskys/schemas"
)

var topicForm = regexp.MustCompile(`^amoskys\.[a-z]+\.[a-z]+\.v[1-9]\d*$`)

func TestTopics(t *testing.T) {
	all := schemas.Topics()
	if !slices.IsSortedFunc(all, func(a, b *schemas.Topic) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("topics are not sorted")
	}
	names := map[string]bool{}
	for _, x := range append(all, schemas.NormalizedTopic) {
		if names[x.Name] {
			t.Errorf("topic %s is declared twice", x.Name)
		}
		names[x.Name] = true
		if x != schemas.SchemasTopic && !topicForm.MatchString(x.Name) {
			t.Errorf("topic %s: want amoskys.<domain>.<name>.v<major>", x.Name)
		}
		if x.Doc == "" || x.Key == "" || x.Owner == "" {
			t.Errorf("topic %s: doc, key or owner is missing", x.Name)
		}
		if !slices.Contains([]string{"public", "internal", "personal"}, x.Class) {
			t.Errorf("topic %s: class %q", x.Name, x.Class)
		}
		if onBroker := x.Kind != schemas.Memory; onBroker && (x.Kind == schemas.Table) != (x.Retention == 0) {
			t.Errorf("topic %s: %s with retention %s: tables are kept for ever, all others are not", x.Name, x.Kind, x.Retention)
		}
		for _, s := range x.Schemas {
			if _, ok := schemas.Lookup(s); !ok {
				t.Errorf("topic %s: schema %s does not exist", x.Name, s)
			}
		}
		kinds(t, x)
	}
	if _, ok := schemas.TopicByName(schemas.NormalizedTopic.Name); ok {
		t.Error("a memory topic is among those of the broker")
	}
	if x, ok := schemas.TopicByName(schemas.AlertsTopic.Name); !ok || x != schemas.AlertsTopic {
		t.Error("the alerts topic is not found")
	}
}

// kinds checks that what is on a topic fits its kind: events are collected, chain records derived.
func kinds(t *testing.T, x *schemas.Topic) {
	t.Helper()
	for _, name := range x.Schemas {
		v := schemas.New(name)
		_, event := v.(schemas.Event)
		_, derived := v.(schemas.Derived)
		control := name == "Tick" || name == "Progress"
		switch x.Kind {
		case schemas.Ingest, schemas.Memory:
			if !event && !control {
				t.Errorf("topic %s: %s is no event", x.Name, name)
			}
		case schemas.Chain:
			if !derived && !control {
				t.Errorf("topic %s: %s is not derived", x.Name, name)
			}
		}
	}
}

// Every schema is on a topic, or is a part of one that is.
func TestEverySchemaIsUsed(t *testing.T) {
	used := map[string]bool{}
	for _, x := range schemas.Topics() {
		for _, s := range x.Schemas {
			used[s] = true
		}
	}
	for _, name := range schemas.Names() {
		if used[name] {
			continue
		}
		part := false
		for other := range used {
			part = part || strings.Contains(lookup(t, other).Text, fmt.Sprintf("%q", name))
		}
		if !part {
			t.Errorf("schema %s is on no topic and in no schema that is", name)
		}
	}
}

func TestChangelogTopic(t *testing.T) {
	x := schemas.ChangelogTopic("app", "stage")
	if x.Name != "amoskys.changelog.app.stage" || x.Kind != schemas.Table || x.Retention != 0 {
		t.Errorf("%+v", x)
	}
}

func TestKinds(t *testing.T) {
	want := map[schemas.Kind]string{schemas.Ingest: "ingest", schemas.Chain: "chain", schemas.Table: "table", schemas.Journal: "journal", schemas.Memory: "memory"}
	for k, text := range want {
		if k.String() != text {
			t.Errorf("%d is %s, want %s", k, k, text)
		}
	}
}

// One file declares all schemas of a name, and the file is named after it.
func TestSchemaFiles(t *testing.T) {
	files, err := filepath.Glob("avsc/*.avsc")
	if err != nil || len(files) != len(schemas.Names()) {
		t.Fatalf("%d files for %d schemas, %v", len(files), len(schemas.Names()), err)
	}
	words := regexp.MustCompile(`([a-z0-9])([A-Z])|([A-Z])([A-Z][a-z])`)
	for _, name := range schemas.Names() {
		file := strings.ToLower(words.ReplaceAllString(name, "${1}${3}_${2}${4}"))
		text, err := os.ReadFile(filepath.Join("avsc", file+".avsc"))
		if err != nil {
			t.Errorf("schema %s: %v", name, err)
			continue
		}
		if strings.Contains(string(text), `"map"`) {
			t.Errorf("schema %s has a map: the order of its entries is not defined", name)
		}
		if !strings.Contains(string(text), `"namespace": "amoskys"`) {
			t.Errorf("schema %s is not in our namespace", name)
		}
	}
}
