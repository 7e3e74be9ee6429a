package integration

import (
	"strings"
	"testing"
	"time"

	"github.com/amoskys/amoskys/internal/testbroker"
	"github.com/amoskys/amoskys/schemas"
)

// TestMutualTLS runs each role with a certificate of its own, and with the rights that deploy/kafka/acls.tsv gives it and
// no others.
func TestMutualTLS(t *testing.T) {
	if testing.Short() {
		t.Skip("a real broker takes seconds to start")
	}
	c := testbroker.Start(t, testbroker.Options{TLS: true})
	grants, err := testbroker.Grants()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Grant(t.Context(), grants); err != nil {
		t.Fatal(err)
	}
	must(t, environ(t, c, "topics"), "topics", "create")
	v := see(t, c)

	reg := begin(t, environ(t, c, "registry", "AMOSKYS_REGISTRY_LISTEN="+freeAddress(t)), "registry")
	url := "AMOSKYS_REGISTRY_URL=http://" + variable(reg, "AMOSKYS_REGISTRY_LISTEN")
	answers(t, strings.TrimPrefix(url, "AMOSKYS_REGISTRY_URL="))

	var running []*program
	for _, stage := range []string{"lineage", "features", "scoring"} {
		running = append(running, begin(t, environ(t, c, stage, url), "process", "--stage", stage))
	}
	archive := t.TempDir()
	running = append(running, begin(t, environ(t, c, "sink", url, "AMOSKYS_SINKS_FILE_DIR="+archive), "sink", "file"))
	path := recording(t, newMixture(7, time.Now().Add(-time.Minute), 100, 200), 2000)
	running = append(running, begin(t, environ(t, c, "collector", url), "collect", "file", "--paths", path))
	v.collected(t, 8)
	v.finish(t, archive, 2000)
	for _, p := range running {
		if code := p.stop(t); code != 0 {
			t.Errorf("%s ended with %d after it was asked to:\n%s", p.name, code, tail(p.talk.String(), 10))
		}
	}

	// Roles without the right: the error says what was refused.
	for _, x := range []struct {
		role string
		args []string
	}{{"sink", []string{"process", "--stage", "lineage"}}, {"collector", []string{"sink", "file"}}, {"stranger", []string{"collect", "file", "--paths", path}}} {
		p := begin(t, environ(t, c, x.role, url), x.args...)
		code := p.wait(t, time.Minute)
		if talk := p.talk.String(); code != 1 || !strings.Contains(strings.ToLower(talk), "authoriz") || !strings.Contains(talk, "amoskys.") {
			t.Errorf("%s as %s: exit code %d:\n%s", strings.Join(x.args, " "), x.role, code, tail(talk, 10))
		} else {
			t.Logf("%s as %s: %s", strings.Join(x.args, " "), x.role, tail(talk, 1))
		}
	}
	if n := v.count(t, schemas.AlertsTopic, "Alert"); n == 0 {
		t.Error("no alerts")
	}

	// A topic that its role may not create is asked for.
	if rs, err := v.adm.DeleteTopics(t.Context(), schemas.FeaturesTopic.Name); err != nil || rs.Error() != nil {
		t.Fatal(err, rs.Error())
	}
	p := begin(t, environ(t, c, "features", url), "process", "--stage", "features")
	code := p.wait(t, time.Minute)
	if talk := p.talk.String(); code != 1 || !strings.Contains(talk, schemas.FeaturesTopic.Name) || !strings.Contains(talk, "amoskys topics create") {
		t.Errorf("%s without one of its topics: exit code %d:\n%s", p.name, code, tail(talk, 10))
	} else {
		t.Logf("%s: %s", p.name, tail(talk, 1))
	}
}
