package proc

import (
	"bytes"
	"os"
	"strings"
	"time"
)

// users are the names of users by id, from a passwd file. It is looked at again at most every ten seconds, and read again
// when it has changed. Users that only a directory service knows have no name here.
type users struct {
	path    string
	names   map[string]string
	read    time.Time // modification time of what was read
	checked time.Time
}

const usersEvery = 10 * time.Second

func (u *users) name(uid string, now time.Time) string {
	if now.Sub(u.checked) >= usersEvery {
		u.checked = now
		u.load()
	}
	return u.names[uid]
}

// load reads the file, if it has changed. One that cannot be read leaves what is known.
func (u *users) load() {
	i, err := os.Stat(u.path)
	if err != nil || i.ModTime().Equal(u.read) {
		return
	}
	b, err := os.ReadFile(u.path)
	if err != nil {
		return
	}
	u.names, u.read = parsePasswd(b), i.ModTime()
}

// parsePasswd reads passwd(5). Of several names of one id the first is taken, as getpwuid does.
func parsePasswd(b []byte) map[string]string {
	names := map[string]string{}
	for line := range bytes.Lines(b) {
		f := strings.SplitN(strings.TrimSuffix(string(line), "\n"), ":", 4)
		if len(f) < 4 || f[0] == "" || f[2] == "" || strings.HasPrefix(f[0], "#") {
			continue
		}
		if _, ok := names[f[2]]; !ok {
			names[f[2]] = f[0]
		}
	}
	return names
}
