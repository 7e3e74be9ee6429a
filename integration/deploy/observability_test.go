package deploy

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

type panel struct {
	Title   string `json:"title"`
	Type    string `json:"type"`
	Targets []struct {
		Expr string `json:"expr"`
	} `json:"targets"`
	Description string `json:"description"`
}

func panels(t *testing.T) []panel {
	t.Helper()
	var d struct {
		UID    string  `json:"uid"`
		Panels []panel `json:"panels"`
	}
	if err := json.Unmarshal(read(t, "deploy/observability/grafana/dashboards/amoskys.json"), &d); err != nil {
		t.Fatal(err)
	}
	if d.UID == "" || len(d.Panels) == 0 {
		t.Fatal("the dashboard has no uid or no panels")
	}
	return d.Panels
}

type rulesFile struct {
	Groups []struct {
		Rules []struct {
			Alert       string            `yaml:"alert"`
			Expr        string            `yaml:"expr"`
			Labels      map[string]string `yaml:"labels"`
			Annotations map[string]string `yaml:"annotations"`
		} `yaml:"rules"`
	} `yaml:"groups"`
}

func rules(t *testing.T) rulesFile {
	t.Helper()
	var f rulesFile
	if err := yaml.Unmarshal(read(t, "deploy/observability/rules.yml"), &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestMetricsExist looks for each metric that a panel or a rule reads among those that the code declares.
func TestMetricsExist(t *testing.T) {
	declared := sources(t)
	used := map[string]string{} // by metric: where
	for _, p := range panels(t) {
		for _, q := range p.Targets {
			for _, m := range ours.FindAllString(q.Expr, -1) {
				used[m] = "panel " + p.Title
			}
		}
	}
	for _, g := range rules(t).Groups {
		for _, r := range g.Rules {
			for _, m := range ours.FindAllString(r.Expr, -1) {
				used[m] = "rule " + r.Alert
			}
		}
	}
	if len(used) < 10 {
		t.Errorf("only %d metrics are read: were the files parsed?", len(used))
	}
	for m, where := range used {
		name := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(m, "")
		parts := strings.SplitN(name, "_", 3) // namespace, subsystem, name
		if !strings.Contains(declared, `"`+name+`"`) && !strings.Contains(declared, `"`+parts[2]+`"`) {
			t.Errorf("%s reads %s, which no code declares", where, m)
		}
	}
}

var ours = regexp.MustCompile(`\bamoskys_[a-z_]+`)

// The names of metrics in the code: whole, or as a part of those of the engine.
var (
	wholeName  = regexp.MustCompile(`"(amoskys_[a-z_]+)"`)
	engineName = regexp.MustCompile(`(?:\b(?:counter|gauge)\(|Subsystem: "streams", Name: )"([a-z_]+)"`)
	inTable    = regexp.MustCompile("(?m)^\\| `(amoskys_[a-z_]+)` \\|")
)

// TestMetricsDocumented: docs/metrics.md has every metric that the code declares once, and no other.
func TestMetricsDocumented(t *testing.T) {
	var declared, documented []string
	src := sources(t)
	for _, m := range wholeName.FindAllStringSubmatch(src, -1) {
		declared = append(declared, m[1])
	}
	for _, m := range engineName.FindAllStringSubmatch(src, -1) {
		declared = append(declared, "amoskys_streams_"+m[1])
	}
	for _, m := range inTable.FindAllStringSubmatch(string(read(t, "docs/metrics.md")), -1) {
		documented = append(documented, m[1])
	}
	slices.Sort(declared)
	slices.Sort(documented)
	if len(declared) < 20 || !slices.Equal(declared, documented) {
		t.Errorf("declared:\n%s\ndocumented:\n%s", strings.Join(declared, "\n"), strings.Join(documented, "\n"))
	}
}

// sources returns all Go code of the program.
func sources(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, dir := range []string{"streams", "collectors", "processors", "sinks", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			src, err := os.ReadFile(path)
			b.Write(src)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func TestPanelsAndRulesSayWhatTheyMean(t *testing.T) {
	for _, p := range panels(t) {
		if p.Type != "row" && (p.Description == "" || len(p.Targets) == 0) {
			t.Errorf("panel %q has no description or no query", p.Title)
		}
	}
	tested := string(read(t, "deploy/observability/rules_test.yml"))
	for _, g := range rules(t).Groups {
		for _, r := range g.Rules {
			if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("rule %s does not say what it means and what to do", r.Alert)
			}
			if s := r.Labels["severity"]; s != "page" && s != "ticket" {
				t.Errorf("rule %s has severity %q, want page or ticket", r.Alert, s)
			}
			group := regexp.MustCompile(`^AmoskysTransactions`).FindString(r.Alert) // tested by one expression
			if !strings.Contains(tested, r.Alert) && group == "" {
				t.Errorf("no test makes rule %s fire", r.Alert)
			}
		}
	}
}

// TestPanelsParse lets promtool read the queries of all panels, as if they were recording rules.
func TestPanelsParse(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		if promtool = filepath.Join(root, ".cache", "bin", "promtool"); !executable(promtool) {
			t.Skip("promtool is not here")
		}
	}
	type rule struct {
		Record string `yaml:"record"`
		Expr   string `yaml:"expr"`
	}
	var rs []rule
	for _, p := range panels(t) {
		for _, q := range p.Targets {
			rs = append(rs, rule{fmt.Sprintf("panel:%d", len(rs)), strings.ReplaceAll(q.Expr, "$__rate_interval", "5m")})
		}
	}
	b, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "panels", "rules": rs}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "panels.yml")
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(promtool, "check", "rules", "--lint=none", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func executable(path string) bool {
	i, err := os.Stat(path)
	return err == nil && i.Mode()&0o111 != 0
}

func TestEveryRoleIsScraped(t *testing.T) {
	var conf struct {
		RuleFiles []string `yaml:"rule_files"`
		Scrape    []struct {
			Job     string `yaml:"job_name"`
			Targets []struct {
				Targets []string `yaml:"targets"`
			} `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal(read(t, "deploy/observability/prometheus.yml"), &conf); err != nil {
		t.Fatal(err)
	}
	scraped := map[string]bool{}
	for _, s := range conf.Scrape {
		for _, g := range s.Targets {
			for _, target := range g.Targets {
				host, _, _ := strings.Cut(target, ":")
				scraped[host] = true
			}
		}
	}
	for name, s := range compose(t).Services {
		ours := strings.HasPrefix(s.Image, "${AMOSKYS_IMAGE")
		if runs := ours && name != "topics"; runs != scraped[name] {
			t.Errorf("service %s runs: %v, is scraped: %v", name, runs, scraped[name])
		}
	}
}
