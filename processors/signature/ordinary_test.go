package signature

import (
	"testing"

	"github.com/amoskys/amoskys/processors/internal/paths"
	"github.com/amoskys/amoskys/schemas"
)

// TestOrdinaryServers has what happens on Linux servers every day, each beside what differs from it only in what makes it
// an attack.
func TestOrdinaryServers(t *testing.T) {
	exec := func(path, name, cmd, parent string) schemas.LineageRecord {
		return schemas.LineageRecord{Kind: "exec", Platform: "linux", Process: schemas.Process{UID: "u", Path: path, Name: name, CmdLine: cmd},
			Parent: schemas.Process{Path: parent, Name: paths.Base(parent)}}
	}
	shell := func(cmd, parent string) schemas.LineageRecord { return exec("/usr/bin/dash", "dash", cmd, parent) }
	removed := func(path string) schemas.LineageRecord {
		l := exec(path, paths.Base(path), path, "/usr/lib/systemd/systemd")
		l.Deleted = true
		return l
	}
	memory := func(path, parent string) schemas.LineageRecord {
		l := exec(path, "exe", "runc init", parent)
		l.Memfd = true
		return l
	}
	goRun := removed("/tmp/go-build123/b001/exe/main")
	goRun.Ancestry = []schemas.Ancestor{{Name: "go", Path: "/usr/local/go/bin/go"}}

	for _, c := range []struct {
		what     string
		ordinary schemas.LineageRecord
		attack   schemas.LineageRecord
		rule     string
	}{
		{"a daemon whose package was upgraded", removed("/usr/sbin/sshd"), removed("/dev/shm/sshd"), "deleted_executable"},
		{"a program of a container whose layer is gone", removed("/app/server"), removed("/var/tmp/server"), "deleted_executable"},
		{"a program that go run built", goRun, removed("/tmp/go-build123/b001/exe/main"), "deleted_executable"},
		{"a container of Docker", memory("/memfd:runc_cloned:/proc/self/exe", "/usr/sbin/runc"), memory("/memfd:runc_cloned:/proc/self/exe", "/tmp/runc"), "memfd_execution"},
		{"a container of k3s", memory("/memfd:runc_cloned:/proc/self/exe", "/var/lib/rancher/k3s/data/1f0c/bin/runc"),
			memory("/memfd:runc_cloned:/proc/self/exe", "/var/lib/php/runc"), "memfd_execution"},
		{"mail from PHP", shell("sh -c '/usr/sbin/sendmail -t -i'", "/usr/sbin/php-fpm8.2"), shell("sh -c '/usr/sbin/sendmail -t; id'", "/usr/sbin/php-fpm8.2"), "server_shell"},
		{"mail from PHP, C library after POSIX.1-2024", shell("sh -c -- '/usr/sbin/sendmail -t -i'", "/usr/sbin/php-fpm8.3"), shell("sh -c -- 'uname -a'", "/usr/sbin/php-fpm8.3"), "server_shell"},
		{"clean-up of a standby's archive", shell("sh -c 'pg_archivecleanup /archive 000000010000000000000042'", "/usr/lib/postgresql/15/bin/postgres"),
			shell("sh -c 'cat /etc/passwd'", "/usr/lib/postgresql/15/bin/postgres"), "server_shell"},
		{"settings that a web server computes when it starts", shell("sh -c /usr/share/lighttpd/create-mime.conf.pl", "/usr/sbin/lighttpd"),
			shell("sh -c /usr/share/../../tmp/x", "/usr/sbin/lighttpd"), "server_shell"},
		{"a job of cron", shell("/bin/sh -c 'cd / && run-parts --report /etc/cron.hourly'", "/usr/sbin/cron"),
			shell("/bin/sh -c 'cd / && run-parts --report /etc/cron.hourly'", "/usr/sbin/nginx"), "server_shell"},
		{"a step of a build agent", exec("/usr/bin/bash", "bash", "bash -e /opt/runner/_work/_temp/step.sh", "/opt/runner/bin/Runner.Worker"),
			exec("/usr/bin/bash", "bash", "bash -e /srv/www/upload/step.sh", "/usr/sbin/apache2"), "server_shell"},
		{"a health check of a container", shell("/bin/sh -c 'curl -f http://localhost/ || exit 1'", "/usr/bin/containerd-shim-runc-v2"),
			shell("/bin/sh -c 'curl -f http://192.0.2.1/ || exit 1'", "/usr/sbin/nginx"), "server_shell"},
	} {
		if got := matches(&c.ordinary); len(got) > 0 {
			t.Errorf("%s sets off %v", c.what, got)
		}
		if got := matches(&c.attack); len(got) != 1 || got[0] != c.rule {
			t.Errorf("the attack that is like %s sets off %v, want %s", c.what, got, c.rule)
		}
	}
}

func matches(l *schemas.LineageRecord) (ids []string) {
	for _, r := range Rules {
		if r.kind == l.Kind && (r.platform == "" || r.platform == l.Platform) && r.match(l) {
			ids = append(ids, r.ID)
		}
	}
	return ids
}
