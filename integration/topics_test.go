package integration

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/amoskys/amoskys/internal/testbroker"
	"github.com/amoskys/amoskys/schemas"
)

// TestTopicDeleted takes a topic away from roles that start and from one that runs. Each ends, and names the topic and what
// to do: none makes it anew as if nothing had been on it.
func TestTopicDeleted(t *testing.T) {
	c := testbroker.StartEmbedded(t, testbroker.Options{})
	must(t, environ(t, c, "topics"), "topics", "create")
	v := see(t, c)
	remove := func() {
		t.Helper()
		if rs, err := v.adm.DeleteTopics(t.Context(), schemas.FeaturesTopic.Name); err != nil || rs.Error() != nil {
			t.Fatal(err, rs.Error())
		}
	}
	told := func(p *program, within time.Duration) {
		t.Helper()
		code := p.wait(t, within)
		if talk := p.talk.String(); code != 1 || !strings.Contains(talk, schemas.FeaturesTopic.Name) || !strings.Contains(talk, "amoskys topics create") {
			t.Errorf("%s: exit code %d, want 1, the topic and what to do:\n%s", p.name, code, tail(talk, 5))
		} else {
			t.Logf("%s: %s", p.name, tail(talk, 1))
		}
	}
	remove()
	out, talk, code := amoskys(t, environ(t, c, "topics"), "topics", "verify")
	if code != 1 || !strings.Contains(out, schemas.FeaturesTopic.Name) || !strings.Contains(out, "amoskys topics create") {
		t.Errorf("topics verify: exit code %d, %s%s", code, out, talk)
	}
	path := recording(t, newMixture(8, time.Now(), 100, 10), 100)
	var roles []*program
	for _, args := range [][]string{{"process"}, {"process", "--stage", "features"}, {"sink", "file"}, {"collect", "file", "--paths", path}} {
		roles = append(roles, begin(t, environ(t, c, "any"), args...))
	}
	for _, p := range roles {
		told(p, 30*time.Second)
	}

	must(t, environ(t, c, "topics"), "topics", "create")
	p := begin(t, environ(t, c, "chain"), "process")
	now := time.Now().UnixNano()
	v.send(t, attack("h1", 1, now))
	v.mustEqual(t, "a topic made anew", v.settle(t, chainGroup, time.Minute), 30*time.Second)
	remove()
	v.send(t, attack("h1", 3, now+2*60e9)) // it closes a window: there is something to write
	told(p, time.Minute)
	must(t, environ(t, c, "topics"), "topics", "create")
	begin(t, environ(t, c, "chain"), "process")
	v.mustEqual(t, "a topic made anew for a chain that ran", v.settle(t, chainGroup, time.Minute), 30*time.Second)
	p = begin(t, environ(t, c, "chain"), "process", "--stage", "scoring")
	eventually(t, time.Minute, "a task", func(context.Context) error {
		if text := p.talk.String(); strings.Count(text, "task restored") < 4 {
			return errors.New(tail(text, 5))
		}
		return nil
	})
	remove()
	told(p, time.Minute)
}
