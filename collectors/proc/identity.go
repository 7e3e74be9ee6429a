package proc

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
)

// HostID is a stable id of this machine: the first 16 bytes, in hex, of HMAC-SHA256 of "amoskys" under the machine id, since
// machine-id(5) forbids to show that itself. That of the first process is asked first: in a container that sees the
// processes of its host it is the host's. Where there is none at all, the id is the host name.
func HostID() string {
	return hostID("/proc/1/root/etc/machine-id", "/etc/machine-id", "/var/lib/dbus/machine-id")
}

func hostID(files ...string) string {
	for _, f := range files {
		text, err := os.ReadFile(f)
		id := strings.TrimSpace(string(text))
		if err != nil || len(id) < 32 { // absent, empty or "uninitialized"
			continue
		}
		m := hmac.New(sha256.New, []byte(id))
		m.Write([]byte("amoskys"))
		return hex.EncodeToString(m.Sum(nil)[:16])
	}
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "localhost"
	}
	return name
}

// BootID is the id of the running boot, as the proc file system at root gives it; "unknown" if it does not.
func BootID(root string) string {
	text, err := os.ReadFile(filepath.Join(root, "sys/kernel/random/boot_id"))
	if id := strings.TrimSpace(string(text)); err == nil && id != "" {
		return id
	}
	return "unknown"
}
