package deploy

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const root = "../.."

type composeFile struct {
	Services map[string]service `yaml:"services"`
	Volumes  map[string]any     `yaml:"volumes"`
}

type service struct {
	Image       string                       `yaml:"image"`
	Command     []string                     `yaml:"command"`
	Restart     string                       `yaml:"restart"`
	ReadOnly    bool                         `yaml:"read_only"`
	CapDrop     []string                     `yaml:"cap_drop"`
	SecurityOpt []string                     `yaml:"security_opt"`
	Ports       []string                     `yaml:"ports"`
	Volumes     []string                     `yaml:"volumes"`
	Profiles    []string                     `yaml:"profiles"`
	PID         string                       `yaml:"pid"`
	User        string                       `yaml:"user"`
	Environment map[string]string            `yaml:"environment"`
	DependsOn   map[string]map[string]string `yaml:"depends_on"`
	Healthcheck struct {
		Test    []string `yaml:"test"`
		Disable bool     `yaml:"disable"`
	} `yaml:"healthcheck"`
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func compose(t *testing.T) composeFile {
	t.Helper()
	var c composeFile
	if err := yaml.Unmarshal(read(t, "docker-compose.yml"), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEveryRoleIsAService(t *testing.T) {
	c := compose(t)
	for name, command := range map[string]string{
		"topics": "topics create", "registry": "registry", "collector": "collect proc", "lineage": "process --stage lineage",
		"features": "process --stage features", "scoring": "process --stage scoring", "sink": "sink file", "demo": "demo --yes",
	} {
		if got := strings.Join(c.Services[name].Command, " "); got != command {
			t.Errorf("service %s runs %q, want %q", name, got, command)
		}
	}
	if got := c.Services["collector"].PID; got != "host" {
		t.Errorf("the collector's process namespace is %q: it would see itself only", got)
	}
	for name, s := range c.Services {
		var want []string
		switch name {
		case "demo":
			want = []string{"demo"}
		case "prometheus", "grafana":
			want = []string{"observability"}
		}
		if !slices.Equal(s.Profiles, want) {
			t.Errorf("service %s is in profiles %v, want %v", name, s.Profiles, want)
		}
	}
}

// pinned is an image with a version, replaceable by a variable.
var pinned = regexp.MustCompile(`^\$\{[A-Z_]+_IMAGE:-[a-z0-9./-]+:([a-z0-9.-]+)\}$`)

func TestServicesAreHardened(t *testing.T) {
	for name, s := range compose(t).Services {
		m := pinned.FindStringSubmatch(s.Image)
		if m == nil || m[1] == "latest" {
			t.Errorf("service %s: image %q is not ${…_IMAGE:-name:version}", name, s.Image)
		}
		if s.Restart == "" {
			t.Errorf("service %s has no restart policy", name)
		}
		if !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("service %s keeps privileges: cap_drop %v, security_opt %v", name, s.CapDrop, s.SecurityOpt)
		}
		if !s.ReadOnly && name != "kafka" { // the official image writes its settings into itself
			t.Errorf("service %s has a writable root", name)
		}
		if s.User != "" && name != "collector" {
			t.Errorf("service %s runs as %s", name, s.User)
		}
		if oneShot := name == "topics" || name == "demo"; oneShot != s.Healthcheck.Disable || oneShot == (len(s.Healthcheck.Test) > 0) {
			t.Errorf("service %s: health check %v, disabled: %v", name, s.Healthcheck.Test, s.Healthcheck.Disable)
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("service %s publishes %s to the network, and its listener has no authentication", name, p)
			}
		}
	}
}

func TestMountsAndDependenciesExist(t *testing.T) {
	c := compose(t)
	for name, s := range c.Services {
		for _, v := range s.Volumes {
			src, rest, _ := strings.Cut(v, ":")
			switch {
			case strings.HasPrefix(src, "./"):
				if _, err := os.Stat(filepath.Join(root, src)); err != nil {
					t.Errorf("service %s mounts what is not there: %v", name, err)
				}
			case strings.HasPrefix(src, "/"):
				if !strings.HasSuffix(rest, ":ro") {
					t.Errorf("service %s can write to the host's %s", name, src)
				}
			default:
				if _, ok := c.Volumes[src]; !ok {
					t.Errorf("service %s uses volume %s, which is not declared", name, src)
				}
			}
		}
		for dep, how := range s.DependsOn {
			d, ok := c.Services[dep]
			switch {
			case !ok:
				t.Errorf("service %s depends on %s, which is no service", name, dep)
			case how["condition"] == "service_healthy" && d.Healthcheck.Disable:
				t.Errorf("service %s waits for the health of %s, which has none", name, dep)
			}
		}
	}
}

// TestKafkaHasTwoListeners holds what every transaction needs: a listener by which the broker reaches itself, apart from
// the one that is advertised as a port of the host; and a health check that asks the broker and not the port.
func TestKafkaHasTwoListeners(t *testing.T) {
	k := compose(t).Services["kafka"]
	inner := k.Environment["KAFKA_INTER_BROKER_LISTENER_NAME"]
	for _, l := range strings.Split(k.Environment["KAFKA_ADVERTISED_LISTENERS"], ",") {
		name, addr, _ := strings.Cut(l, "://")
		if (name == inner) != strings.HasPrefix(addr, "kafka:") {
			t.Errorf("listener %s is advertised as %s; between brokers: %s", name, addr, inner)
		}
	}
	if !strings.Contains(strings.Join(k.Healthcheck.Test, " "), "kafka-broker-api-versions") {
		t.Errorf("the health check of kafka does not ask it for anything: %v", k.Healthcheck.Test)
	}
}

func TestImageIsFromScratchAndNotRoot(t *testing.T) {
	var stage string
	users := map[string]string{}
	for line := range strings.Lines(string(read(t, "Dockerfile"))) {
		f := strings.Fields(line)
		switch {
		case len(f) > 1 && f[0] == "FROM":
			stage = strings.Join(f[1:], " ")
		case len(f) == 2 && f[0] == "USER":
			users[stage] = f[1]
		}
	}
	for _, s := range []string{"scratch", "scratch AS prebuilt"} {
		if users[s] != "65532:65532" {
			t.Errorf("image of stage %q runs as %q", s, users[s])
		}
	}
	if stage != "scratch" {
		t.Errorf("the image that is built by default is from %q", stage)
	}
}
