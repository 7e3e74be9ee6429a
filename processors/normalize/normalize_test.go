package normalize

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/amoskys/amoskys/streams/streamstest"
)

// tap makes the memory topic visible: it writes each canonical event as the object of a lineage record.
var tap = &streams.Processor{
	Name: "tap", Doc: "Shows canonical events.", Version: "1",
	Inputs: []*schemas.Topic{schemas.NormalizedTopic}, Outputs: []*schemas.Topic{schemas.LineageTopic},
	New: func(*streams.Builder) streams.Handler {
		return streams.HandlerFunc(func(c *streams.Context, r *streams.Record) error {
			e := r.Value.(schemas.Event)
			*e.Env() = schemas.Envelope{Platform: e.Env().Platform, Hostname: e.Env().Hostname}
			text, err := json.Marshal(e)
			if err != nil {
				return err
			}
			return c.Emit(schemas.LineageTopic, &schemas.LineageRecord{Kind: e.SchemaName(), Object: string(text)})
		})
	},
}

func Test(t *testing.T) {
	streamstest.Run(t, streams.Stage{Name: "normalize", Processors: []*streams.Processor{Processor, tap}}, "testdata/*.txtar")
}

func TestUnixPath(t *testing.T) {
	for in, want := range map[string]string{
		"/usr/bin/ls":              "/usr/bin/ls",
		"/usr//bin/./ls":           "/usr/bin/ls",
		"/usr/lib/../bin/ls":       "/usr/bin/ls",
		"/../../etc/passwd":        "/etc/passwd",
		"/usr/bin/":                "/usr/bin/",
		"/a/.":                     "/a",
		"/a/..":                    "/",
		"/a/...":                   "/a/...",
		"/a/.hidden/..b":           "/a/.hidden/..b",
		"/tmp/x (deleted)":         "/tmp/x",
		"/memfd:a//b (deleted)":    "/memfd:a//b",
		"socket:[123]":             "socket:[123]",
		"relative/../x":            "relative/../x",
		"/home/Alice/File":         "/home/Alice/File",
		"/tmp/caf\xe9/\u00e9":      "/tmp/caf\\xe9/\u00e9",
		"/a/b/../../../c//d/./e//": "/c/d/e",
	} {
		got := in
		form{env: &schemas.Envelope{}}.path(&got)
		if got != want {
			t.Errorf("path %q = %q, want %q", in, got, want)
		}
	}
}

func TestWindowsPath(t *testing.T) {
	for in, want := range map[string]string{
		`C:\Windows\System32\CMD.EXE`:                       `c:\windows\system32\cmd.exe`,
		`C:/Windows/System32/cmd.exe`:                       `c:\windows\system32\cmd.exe`,
		`\??\C:\Windows\x.exe`:                              `c:\windows\x.exe`,
		`\\?\C:\Windows\x.exe`:                              `c:\windows\x.exe`,
		`\\.\C:\Windows\x.exe`:                              `c:\windows\x.exe`,
		`\\?\UNC\Server\Share\x.exe`:                        `\\server\share\x.exe`,
		`\\Server\\Share\.\x.exe`:                           `\\server\share\x.exe`,
		`\SystemRoot\System32\smss.exe`:                     `c:\windows\system32\smss.exe`,
		`%SystemRoot%\System32\smss.exe`:                    `c:\windows\system32\smss.exe`,
		`%windir%\system32\smss.exe`:                        `c:\windows\system32\smss.exe`,
		`\\.\Pipe\Spoolss`:                                  `\\.\pipe\spoolss`,
		`\??\pipe\x`:                                        `\\.\pipe\x`,
		`\\?\GLOBALROOT\Device\HarddiskVolumeShadowCopy1\x`: `\device\harddiskvolumeshadowcopy1\x`,
		`C:\Windows\\System32\..\x.exe`:                     `c:\windows\x.exe`,
		`C:\..\..\x.exe`:                                    `c:\x.exe`,
		`\Device\HarddiskVolume3\Windows\x.exe`:             `\device\harddiskvolume3\windows\x.exe`,
		`C:\PROGRA~1\Vendor\x.exe`:                          `c:\progra~1\vendor\x.exe`,
		`Registry`:                                          `registry`,
		`C:`:                                                `c:`,
		`<unknown process>`:                                 `<unknown process>`,
		`C:\Users\J` + "\u00dc" + `rgen\` + "\u00e9.exe":    `c:\users\j` + "\u00fc" + `rgen\` + "\u00e9.exe",
	} {
		if got := windowsPath(in); got != want {
			t.Errorf("windowsPath(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestRegistry(t *testing.T) {
	for in, want := range map[string]string{
		`HKLM\Software\Run`:                           `hklm\software\run`,
		`HKEY_LOCAL_MACHINE\Software\Run`:             `hklm\software\run`,
		`\REGISTRY\MACHINE\SOFTWARE\Run`:              `hklm\software\run`,
		`\REGISTRY\USER\S-1-5-21-1-2-3-500_Classes\x`: `hku\s-1-5-21-1-2-3-500_classes\x`,
		`HKEY_USERS\S-1-5-18\x`:                       `hku\s-1-5-18\x`,
		`HKEY_USERSX\x`:                               `hkey_usersx\x`,
		`HKCU\x`:                                      `hkcu\x`,
		`HKLM\System\ControlSet001\Services\x`:        `hklm\system\currentcontrolset\services\x`,
		`HKLM\System\ControlSet001`:                   `hklm\system\currentcontrolset`,
		`HKLM\System\ControlSetXYZ\a`:                 `hklm\system\controlsetxyz\a`,
		`HKLM\System\ControlSet0012\a`:                `hklm\system\controlset0012\a`,
		`HKLM\System\CurrentControlSet\Services\x`:    `hklm\system\currentcontrolset\services\x`,
		``: ``,
	} {
		got := in
		if registry(&got); got != want {
			t.Errorf("registry(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestCmdLine(t *testing.T) {
	for _, x := range []struct {
		args []string
		want string
	}{
		{nil, ""},
		{[]string{"ls", "-l"}, "ls -l"},
		{[]string{"sh", "-c", "echo hi; id"}, "sh -c 'echo hi; id'"},
		{[]string{"echo", ""}, "echo ''"},
		{[]string{"echo", "it's"}, `echo 'it'\''s'`},
		{[]string{"--x=a/b,c:d@e%f+g"}, "--x=a/b,c:d@e%f+g"},
		{[]string{"a\nb"}, "'a\nb'"},
	} {
		if got := cmdLine(x.args); got != x.want {
			t.Errorf("cmdLine(%q) = %q, want %q", x.args, got, x.want)
		}
	}
}

func TestAddress(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:DB8:0:0:0:0:0:1": "2001:db8::1", "fe80::1%eth0": "fe80::1",
		"-": "", "": "", "host": "host", "::1": "::1", "0:0:0:0:0:0:0:1": "::1",
	} {
		got := in
		if address(&got); got != want {
			t.Errorf("address(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestUser(t *testing.T) {
	for _, x := range []struct {
		in, want string
		windows  bool
	}{
		{`corp\Alice`, `CORP\alice`, true},
		{`NT AUTHORITY\SYSTEM`, `NT AUTHORITY\system`, true},
		{`Alice@Corp.Example`, `alice@corp.example`, true},
		{`Alice`, `alice`, true},
		{`Alice`, `Alice`, false},
		{`-`, ``, true},
		{`-`, ``, false},
	} {
		p := schemas.Process{UserName: x.in}
		if (form{windows: x.windows}).user(&p); p.UserName != x.want {
			t.Errorf("user %q = %q, want %q", x.in, p.UserName, x.want)
		}
	}
}

// FuzzEvent gives texts from outside to every rule and holds what must be true of any result.
func FuzzEvent(f *testing.F) {
	f.Add("/usr/../bin/x (deleted)", `C:\a\..\b`, "::ffff:1.2.3.4", true)
	f.Add(`\??\\\?\x`, "\xff", "A.", false)
	f.Add(`\\?\\\?\x`, `\systemroot\%windir%\`, "--", true)
	f.Fuzz(func(t *testing.T, a, b, c string, windows bool) {
		env := schemas.Envelope{Platform: "linux", Hostname: c}
		if windows {
			env.Platform = "windows"
		}
		p := schemas.Process{PID: 1, CreatedTime: 2, Path: a, Name: b, CmdLine: c, UserName: b, WorkingDirectory: b, SHA256: c}
		for _, e := range []schemas.Event{
			&schemas.ProcessExec{Envelope: env, Process: p, Parent: p, Args: []string{a, b, c}, Interpreter: b, TTY: c},
			&schemas.ProcessAccess{Envelope: env, Process: p, Target: p, Access: c},
			&schemas.NetworkActivity{Envelope: env, Process: p, Dst: schemas.Endpoint{IP: c, Hostname: b}},
			&schemas.DNSActivity{Envelope: env, Process: p, Query: b, Answers: []string{a, b, c}},
		} {
			Event(e)
		}
		file := &schemas.FileActivity{Envelope: env, Process: p, Path: b, OldPath: c}
		Event(file)
		if file.Process.UID == "" {
			t.Error("process has no uid")
		}
		for _, s := range []string{file.Path, file.OldPath, file.Process.Path, file.Process.CmdLine, file.Process.UserName} {
			if !utf8.ValidString(s) {
				t.Errorf("%q is not UTF-8", s)
			}
		}
		if once := windowsPath(file.Path); windowsPath(once) != once {
			t.Errorf("windowsPath(%q) = %q is not its own canonical form", file.Path, once)
		}
		key := a
		registry(&key)
		again := key
		if registry(&again); again != key {
			t.Errorf("registry(%q) = %q, and again %q", a, key, again)
		}
	})
}

func BenchmarkEvent(b *testing.B) {
	for _, x := range []struct {
		name string
		env  schemas.Envelope
		p    schemas.Process
	}{
		{"linux", schemas.Envelope{Host: "h", Boot: "b", Platform: "linux"},
			schemas.Process{PID: 4711, CreatedTime: 1, Path: "/usr/bin/python3.11", CmdLine: "python3 -m http.server", UserName: "alice"}},
		{"windows", schemas.Envelope{Host: "h", Boot: "b", Platform: "windows"},
			schemas.Process{UID: "guid", PID: 4711, Path: `C:\Windows\System32\svchost.exe`, CmdLine: "svchost.exe -k netsvcs", UserName: `NT AUTHORITY\SYSTEM`}},
	} {
		b.Run(x.name, func(b *testing.B) {
			b.ReportAllocs()
			var e schemas.FileActivity
			for b.Loop() {
				e = schemas.FileActivity{Envelope: x.env, Process: x.p, Path: x.p.Path}
				Event(&e)
			}
		})
	}
}
