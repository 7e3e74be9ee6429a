// Package paths knows file system paths as detectors need them: which directories anyone may write, which only an
// administrator may, and what is left of a path when its variable parts are taken out.
//
// Paths are expected in canonical form (see package normalize): Windows paths lower case with a drive letter and
// backslashes, others as the system writes them.
package paths

import "strings"

// Base is the last element of a path, whichever separator it uses; empty when the path ends in one.
func Base(p string) string {
	for i := len(p) - 1; i >= 0; i-- {
		if p[i] == '/' || p[i] == '\\' {
			return p[i+1:]
		}
	}
	return p
}

// worldWritable are the directories below which every local user may create files, by default, on Linux (FHS 3.0 §3.18,
// §5.15, and what systemd and glibc mount) and on Windows. Per-user temporary directories are not among them.
var worldWritable = []string{
	"/tmp/", "/var/tmp/", "/dev/shm/", "/run/shm/", "/run/lock/", "/var/lock/", "/dev/mqueue/", "/private/tmp/", "/private/var/tmp/",
	`c:\users\public\`, `c:\windows\temp\`, `c:\windows\tasks\`, `c:\windows\tracing\`, `c:\windows\system32\spool\drivers\color\`,
	`c:\windows\system32\tasks\`, `c:\perflogs\`, `c:\temp\`, `c:\tmp\`, `c:\$recycle.bin\`,
}

// WorldWritable says whether a file with this path lies where every local user may create one. Of c:\programdata only the
// top level counts: below it, programs keep directories with rights of their own.
func WorldWritable(p string) bool {
	for _, d := range worldWritable {
		if strings.HasPrefix(p, d) {
			return true
		}
	}
	rest, ok := strings.CutPrefix(p, `c:\programdata\`)
	return ok && !strings.Contains(rest, `\`)
}

var system = []string{
	"/usr/", "/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/opt/", "/snap/", "/nix/store/", "/gnu/store/", "/boot/", "/System/", "/Library/", "/Applications/",
	`c:\windows\`, `c:\program files\`, `c:\program files (x86)\`, `c:\programdata\microsoft\windows defender\`,
}

// System says whether a file with this path lies where only an administrator may put one. A Windows path on a device
// (\device\harddiskvolume3\windows\…) does not count: any mounted image can offer such a path.
func System(p string) bool {
	if WorldWritable(p) {
		return false
	}
	for _, d := range system {
		if strings.HasPrefix(p, d) {
			return true
		}
	}
	return false
}
