package deploy

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestUnits(t *testing.T) {
	for name, command := range map[string]string{"amoskys.service": "up --config", "amoskys-collect.service": "collect proc --config"} {
		text := string(read(t, "deploy/systemd/"+name))
		for _, want := range []string{
			"ExecStart=/usr/local/bin/amoskys " + command, "DynamicUser=yes", "NoNewPrivileges=yes", "ProtectSystem=strict",
			"Restart=always", "RestartPreventExitStatus=78", "StateDirectoryMode=0700", "MemoryMax=", "WantedBy=multi-user.target",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %s", name, want)
			}
		}
		analyze, err := exec.LookPath("systemd-analyze")
		if err != nil {
			continue // its words are checked where it is
		}
		out, _ := exec.Command(analyze, "verify", filepath.Join(root, "deploy", "systemd", name)).CombinedOutput()
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, name) && !strings.Contains(line, "/usr/local/bin/amoskys is not executable") {
				t.Errorf("systemd: %s", line)
			}
		}
	}
}

func TestACLScriptGrantsTheWholeFile(t *testing.T) {
	out, err := exec.Command(filepath.Join(root, "deploy", "kafka", "acls.sh"), "b:9092", "client.properties").Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if want := len(grants(t)); len(lines) != want {
		t.Errorf("%d commands for %d grants", len(lines), want)
	}
	const want = "kafka-acls.sh --bootstrap-server b:9092 --command-config client.properties --add --allow-principal User:sink --operation Read --group amoskys.sink. --resource-pattern-type prefixed"
	if !strings.Contains(string(out), want+"\n") {
		t.Errorf("no command is %q", want)
	}
}
