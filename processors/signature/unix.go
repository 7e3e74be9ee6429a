package signature

import (
	"net/netip"
	"strings"

	"github.com/amoskys/amoskys/processors/internal/paths"
	"github.com/amoskys/amoskys/schemas"
)

func deletedExecutable(l *schemas.LineageRecord) bool {
	return l.Deleted && !l.Memfd && paths.WorldWritable(l.Process.Path) && !goBuild(l)
}

var containerRuntimes = set("runc", "crun", "containerd-shim", "containerd-shim-runc-v1", "containerd-shim-runc-v2", "containerd", "dockerd", "podman",
	"conmon", "buildkitd", "crio", "buildah", "youki")

func memfdExecution(l *schemas.LineageRecord) bool {
	if !l.Memfd {
		return false
	}
	switch l.Process.Path {
	case "/memfd:runc_cloned:/proc/self/exe", "/memfd:crun_cloned:/proc/self/exe": // the names in runc's and crun's cloned_binary.c
		return !containerRuntime(l.Parent.Path)
	}
	return true
}

// runtimeDirs are where k3s and RKE2, and k0s, unpack the container runtime that they bring along: root's, not everyone's.
var runtimeDirs = [...]string{"/var/lib/rancher/", "/var/lib/k0s/bin/"}

// containerRuntime says whether a program is a container runtime from where only an administrator can put one.
func containerRuntime(path string) bool {
	if !containerRuntimes[paths.Base(path)] {
		return false
	}
	for _, d := range runtimeDirs {
		if strings.HasPrefix(path, d) {
			return true
		}
	}
	return paths.System(path)
}

// OCSF activity_id of File System Activity (1001).
const (
	fileCreate = 1
	fileUpdate = 3
	fileRename = 5
)

func preload(l *schemas.LineageRecord) bool {
	if l.Object != "/etc/ld.so.preload" || l.ActivityID != fileCreate && l.ActivityID != fileUpdate && l.ActivityID != fileRename {
		return false
	}
	return l.Process.Path != "/usr/bin/dpkg" && l.Process.Path != "/usr/bin/rpm"
}

// OCSF activity_id of Network Activity (4001).
const (
	netClose  = 2
	netListen = 7
)

func worldWritableNetwork(l *schemas.LineageRecord) bool {
	if l.ActivityID == netClose || l.ActivityID == netListen || !paths.WorldWritable(l.Process.Path) || l.ObjectPort == 53 || l.Object == "" {
		return false
	}
	if a, err := netip.ParseAddr(l.Object); err == nil && (a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() || a.IsLinkLocalUnicast()) {
		return false
	}
	return !goBuild(l) && !appImage(l.Process.Path)
}

// goBuild says whether a process is what "go test" or "go run" built and started.
func goBuild(l *schemas.LineageRecord) bool {
	rest, ok := strings.CutPrefix(l.Process.Path, "/tmp/go-build")
	if !ok || rest == "" || rest[0] < '0' || rest[0] > '9' {
		return false
	}
	for i := range l.Ancestry {
		if a := l.Ancestry[i].Path; strings.HasSuffix(a, "/bin/go") && !paths.WorldWritable(a) {
			return true
		}
	}
	return false
}

// appImage says whether a path is in the mount of an AppImage: /tmp/.mount_ and the name cut to six characters, and six
// random ones (AppImage runtime, build_mount_point).
func appImage(path string) bool {
	rest, ok := strings.CutPrefix(path, "/tmp/.mount_")
	n := strings.IndexByte(rest, '/')
	return ok && n >= 6 && n <= 12
}

var interpreters = set("python", "perl", "ruby", "php", "lua", "node")

// reverseShell looks for the forms that are in use: a shell on /dev/tcp, netcat and socat with a shell behind, and one
// line of an interpreter that puts a socket in place of a shell's input and output.
func reverseShell(l *schemas.LineageRecord) bool {
	cmd := l.Process.CmdLine
	name := stem(l.Process.Name)
	has := func(s string) bool { return strings.Contains(cmd, s) }
	switch {
	case shells[name]:
		return (has("/dev/tcp/") || has("/dev/udp/")) && (has("0>&1") || has("0<&") || has("bash -i") || has("sh -i"))
	case name == "nc" || name == "ncat" || name == "netcat" || name == "nc.openbsd" || name == "nc.traditional":
		return has("sh") && (has(" -e ") || has(" -c ") || has("--exec ") || has("--sh-exec ")) && (has("/sh") || has("bash"))
	case name == "socat":
		return (has("exec:") || has("EXEC:") || has("system:") || has("SYSTEM:")) && (has("/sh") || has("bash"))
	case interpreters[name]:
		socket := has("socket") || has("Socket") || has("fsockopen")
		return socket && (has("dup2") || has("pty.spawn") || has("/sh -i") || has("bash -i") || has(">&S"))
	}
	return false
}

// stem is a program's name without the version at its end: python3.11 is python, php-fpm8.2 is php-fpm.
func stem(name string) string {
	return strings.TrimRight(name, "0123456789.-")
}

func set(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}
