package proc

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"github.com/amoskys/amoskys/schemas"
)

const statLine = "42 (a) b) (c)) S 7 42 43 34816 42 4194304 1 0 0 0 5 6 0 0 20 0 3 0 12345 1 1 18446744073709551615 1 1 140736 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 768\n"

func TestParseStat(t *testing.T) {
	s, err := parseStat([]byte(statLine))
	want := stat{comm: "a) b) (c)", state: 'S', ppid: 7, session: 43, tty: 34816, flags: 4194304, cpu: 11, threads: 3, start: 12345, stack: 140736, code: 768}
	if err != nil || s != want {
		t.Errorf("got %+v, %v\nwant %+v", s, err, want)
	}
	if s, err := parseStat([]byte("1 (x) Z 0 1 1 0 -1 2097152 0 0 0 0 0 0 0 0 0 0 1 0 5 0 0")); err != nil || !s.ended() || !s.kernel() {
		t.Errorf("short line of an older kernel: %+v, %v", s, err)
	}
	for _, bad := range []string{"", "1 x", "1 (x) S", "1 (x) S a", ") 1 (", "1 (x) S 1 1 1 0 -1 x"} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestParseStatus(t *testing.T) {
	status := []byte("Name:\tx\nUid:\t1000\t1001\t1000\t1000\nCapEff:\t0000000000080000\n")
	if uid, ok := parseUID(status); !ok || uid != "1001" {
		t.Errorf("uid %q, %v: want the effective one", uid, ok)
	}
	if !hasCapability(status, capSysPtrace) || hasCapability(status, capSysPtrace+1) || hasCapability([]byte("Name:\tx\n"), 0) {
		t.Error("capabilities are read wrong")
	}
	for _, bad := range []string{"", "Uid:\t1000\n", "Uid:\tx\ty\n"} {
		if _, ok := parseUID([]byte(bad)); ok {
			t.Errorf("%q was taken", bad)
		}
	}
	if n, err := parseBootTime([]byte("cpu 1 2\nbtime 1700000000\n")); err != nil || n != 1700000000 {
		t.Errorf("boot time %d, %v", n, err)
	}
	for _, bad := range []string{"cpu 1\n", "btime x\n"} {
		if _, err := parseBootTime([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestTTYName(t *testing.T) {
	for dev, want := range map[int64]string{0: "", 0x8803: "pts/3", 0x100: "1:0", 0x401: "tty1", 0x440: "ttyS0", 0x8801 | 0x100000: "pts/257"} {
		if got := ttyName(dev); got != want {
			t.Errorf("device %#x: got %q, want %q", dev, got, want)
		}
	}
}

func TestContainerID(t *testing.T) {
	id := strings.Repeat("a1", 32)
	for text, want := range map[string]string{
		"0::/system.slice/docker-" + id + ".scope\n":                                               id,
		"12:pids:/docker/" + id + "\n0::/\n":                                                       id,
		"0::/\n4:memory:/docker/" + id + "/sub\n":                                                  id,
		"0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-" + id + ".scope/init\n":            id,
		"1:name=systemd:/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:" + id: id,
		"0::/kubepods/burstable/pod1/crio-" + id + "\n":                                            id,
		"0::/machine.slice/libpod-" + id + ".scope/container\n":                                    id,
		"0::/../" + id + "\n":                                id,
		"0::/machine.slice/libpod-conmon-" + id + ".scope\n": "",
		"0::/user.slice/user-1000.slice\n":                   "",
		"0::/docker/" + id[:63] + "\n":                       "",
		"0::/docker/x" + id + "\n":                           "",
		"0::/docker/" + strings.ToUpper(id) + "\n":           "",
		"nonsense\n": "",
		"0::/docker/" + strings.Repeat("b", 64) + "/kubepods/" + id + "\n":                             id,
		"0::/system.slice/docker-" + id + ".scope/libpod-" + strings.Repeat("c", 64) + ".scope/x/y/z/": strings.Repeat("c", 64),
	} {
		if got := containerID([]byte(text)); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestParsePasswd(t *testing.T) {
	names := parsePasswd([]byte("root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\n#no:x:5:5\n+::::\nbad\njoe:x:1000:1000:Joe:/home/joe:/bin/sh"))
	if len(names) != 2 || names["0"] != "root" || names["1000"] != "joe" {
		t.Errorf("names %v", names)
	}
}

func TestParseSocket(t *testing.T) {
	for line, want := range map[string]struct {
		local, remote string
		state         uint8
		inode         uint64
	}{
		"   0: 0100007F:1F90 0200007F:D431 01 00000000:00000000 00:00000000 00000000  1000        0 98765 1 0000 100": {"127.0.0.1:8080", "127.0.0.2:54321", 1, 98765},
		"   2: 0000000000000000FFFF00000100007F:0050 00000000000000000000000000000000:0000 0A 0:0 0:0 0  0 0 5 1":     {"127.0.0.1:80", "[::]:0", 10, 5},
		"  17: 00000000000000000000000001000000:0035 B80D0120000000000000000001000000:0035 07 0:0 0:0 0  0 0 6 1":     {"[::1]:53", "[2001:db8::1]:53", 7, 6},
	} {
		s, ok := parseSocket([]byte(line))
		if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
			t.Skip("lines are those of a little-endian machine")
		}
		if !ok || s.local.String() != want.local || s.remote.String() != want.remote || s.state != want.state || s.inode != want.inode {
			t.Errorf("%s\ngot %+v, %v", line, s, ok)
		}
	}
	for _, bad := range []string{"", "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode", "0: 0100007F:1F90 0200007F 01 0 0 0 0 0 1",
		"0: 0100007F:1F90 0200007F:D431 01 0 0 0 x 0 1", "0: 0100007F:1F90 0200007F:D431 01 0 0 0 0 0 x", "0: 0100007G:1F90 0200007F:D431 01 0 0 0 0 0 1", "0: 0100007F:1F90 0200007F:FFFFF 01 0 0 0 0 0 1"} {
		if _, ok := parseSocket([]byte(bad)); ok {
			t.Errorf("%q was taken", bad)
		}
	}
	if n, ok := parseLink("socket:[77]", "socket"); !ok || n != 77 {
		t.Errorf("link: %d, %v", n, ok)
	}
	for _, bad := range []string{"socket:[77", "socket:[x]", "pipe:[77]", "/dev/null"} {
		if _, ok := parseLink(bad, "socket"); ok {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestWorth(t *testing.T) {
	peer := netip.MustParseAddrPort("192.0.2.1:443")
	for _, c := range []struct {
		protocol string
		s        socket
		want     bool
	}{
		{"tcp", socket{state: stateListen, inode: 1}, true},
		{"tcp", socket{state: stateEstablished, inode: 1, remote: peer}, true},
		{"tcp", socket{state: 6, remote: peer}, false}, // TIME_WAIT: nobody holds it
		{"tcp", socket{state: stateClosed, inode: 1}, false},
		{"udp", socket{state: stateClosed, inode: 1}, true},
		{"udp", socket{state: stateEstablished, inode: 1, remote: peer}, true},
	} {
		if got := c.s.worth(c.protocol); got != c.want {
			t.Errorf("%s %+v: got %v", c.protocol, c.s, got)
		}
	}
}

func TestActivity(t *testing.T) {
	var a activity
	ok := a.addOpens([]byte("Ip: Forwarding\nIp: 1\nTcp: RtoAlgorithm MaxConn ActiveOpens PassiveOpens InSegs\nTcp: 1 -1 11 22 33\nUdp: X\nUdp: 1\n"))
	a.addUse([]byte("sockets: used 60\nTCP: inuse 19 orphan 0\nUDP: inuse 1\n"))
	a.addUse([]byte("TCP6: inuse 3\n"))
	if want := (activity{11, 22, 22}); !ok || a != want {
		t.Errorf("got %+v, %v, want %+v", a, ok, want)
	}
	for _, bad := range []string{"", "Tcp: ActiveOpens PassiveOpens\n", "Tcp: ActiveOpens PassiveOpens\nTcp: 1\n", "Tcp: ActiveOpens PassiveOpens\nTcp: 1 x\n"} {
		if a.addOpens([]byte(bad)) {
			t.Errorf("%q was taken", bad)
		}
	}
}

// message makes a datagram of the connector.
func message(what, cpu, seq uint32, at int64, data ...uint32) []byte {
	o := binary.NativeEndian
	var b []byte
	n := eventHeaderLen + 4*len(data)
	b = o.AppendUint32(b, uint32(nlHeaderLen+cnHeaderLen+n))
	b = o.AppendUint16(b, nlDone)
	b = append(b, make([]byte, 10)...)
	for _, v := range []uint32{cnIdxProc, cnValProc, seq, requestNumber + 1} {
		b = o.AppendUint32(b, v)
	}
	b = o.AppendUint16(b, uint16(n))
	b = o.AppendUint16(b, 0)
	b = o.AppendUint32(b, what)
	b = o.AppendUint32(b, cpu)
	b = o.AppendUint64(b, uint64(at))
	for _, v := range data {
		b = o.AppendUint32(b, v)
	}
	return b
}

func TestParseKernelEvents(t *testing.T) {
	var b []byte
	b = append(b, message(eventFork, 0, 1, 10, 5, 6, 7, 8)...)
	b = append(b, message(eventExec, 1, 2, 11, 8, 8)...)
	b = append(b, message(eventExit, 1, 3, 12, 8, 8, 0x300, 17, 6, 6)...)
	b = append(b, message(0x200, 1, 4, 13, 8, 8, 0, 0, 0, 0)...) // a new name
	b = append(b, message(eventNone, 1, 5, 14, 1)...)
	var got []kernelEvent
	parseKernelEvents(b, func(e kernelEvent) { got = append(got, e) })
	ack := uint32(requestNumber + 1)
	want := []kernelEvent{
		{what: eventFork, seq: 1, ack: ack, time: 10, parent: 6, pid: 7, tgid: 8},
		{what: eventExec, cpu: 1, seq: 2, ack: ack, time: 11, pid: 8, tgid: 8},
		{what: eventExit, cpu: 1, seq: 3, ack: ack, time: 12, pid: 8, tgid: 8, status: 0x300},
		{what: 0x200, cpu: 1, seq: 4, ack: ack, time: 13},
		{what: eventNone, cpu: 1, seq: 5, ack: ack, time: 14, err: 1},
	}
	if len(got) != len(want) {
		t.Fatalf("%d events, want %d: %+v", len(got), len(want), got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("event %d: got %+v, want %+v", i, got[i], want[i])
		}
		if got[i].happened() != (i < 3) {
			t.Errorf("event %d: happened is %v", i, got[i].happened())
		}
	}
	for cut := range len(b) {
		parseKernelEvents(b[:cut], func(kernelEvent) {})
	}
	parseKernelEvents(message(eventFork, 0, 1, 10, 5), func(e kernelEvent) { t.Errorf("a short fork was taken: %+v", e) })
	if r := appendKernelRequest(nil, mcastListen, requestNumber); len(r) != int(binary.NativeEndian.Uint32(r)) {
		t.Error("a request does not tell its length")
	}
}

func TestGapsCountWhatIsMissing(t *testing.T) {
	g := gaps{}
	for i, c := range []struct{ cpu, seq, lost uint32 }{
		{0, 100, 0}, {0, 101, 0}, {1, 7, 0}, {0, 105, 3}, {1, 8, 0}, {noCPU, 0, 0}, {1, 1<<32 - 1, 0}, {1, 1, 1}, {0, 106, 0},
	} {
		if lost := g.see(&kernelEvent{cpu: c.cpu, seq: c.seq}); lost != c.lost {
			t.Errorf("step %d: %d lost, want %d", i, lost, c.lost)
		}
	}
}

func TestMask(t *testing.T) {
	m, err := newMask(&Config{Mask: true})
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		"mysql|--password=hunter2|db":                        "mysql|--password=***|db",
		"mysql|-uroot|-phunter2|db":                          "mysql|-uroot|-p***|db",
		"/usr/bin/mysqldump|-p|db":                           "/usr/bin/mysqldump|-p|db",
		"ssh|-p|22|host":                                     "ssh|-p|22|host",
		"mkdir|-p|/a/b":                                      "mkdir|-p|/a/b",
		"sshpass|-p|hunter2|ssh|host":                        "sshpass|-p|***|ssh|host",
		"x|--token|abc|y":                                    "x|--token|***|y",
		"x|--db-password|abc":                                "x|--db-password|***",
		"x|--token-file|/etc/t":                              "x|--token-file|/etc/t",
		"curl|https://joe:secret@example.com/x":              "curl|https://joe:***@example.com/x",
		"curl|https://e.com/?a=1&sig=abc%20&b=2":             "curl|https://e.com/?a=1&sig=***&b=2",
		"curl|-u|joe:hunter2|https://e.com":                  "curl|-u|joe:***|https://e.com",
		"curl|-H|Authorization: Bearer abc.def-1":            "curl|-H|Authorization: Bearer ***",
		"curl|-H|PRIVATE-TOKEN: abcdef123":                   "curl|-H|PRIVATE-TOKEN: ***",
		"docker|run|-u|1000:1000|x":                          "docker|run|-u|1000:1000|x",
		"env|DB_PASSWORD=abc|sh":                             "env|DB_PASSWORD=***|sh",
		"env|AWS_SECRET_ACCESS_KEY=wJalr/x+y|sh":             "env|AWS_SECRET_ACCESS_KEY=***|sh",
		"java|-Dspring.datasource.password=x|a":              "java|-Dspring.datasource.password=***|a",
		"tool|Server=s;Password=p w;Db=d":                    "tool|Server=s;Password=*** w;Db=d",
		`run|{"user": "joe", "DB_PASSWORD": "x y", "n": 1}`:  `run|{"user": "joe", "DB_PASSWORD": "***", "n": 1}`,
		"aws|AKIAABCDEFGHIJKLMNOP|x":                         "aws|***|x",
		"git|clone|ghp_" + strings.Repeat("a", 36):           "git|clone|***",
		"x|eyJhbGciOiJI.eyJzdWIiOiIx.sig":                    "x|***",
		"ls|--color=auto|/tmp":                               "ls|--color=auto|/tmp",
		"ls|/secret|foo":                                     "ls|/secret|foo",
		"git|--passive|push":                                 "git|--passive|push",
		"passwd|joe":                                         "passwd|joe",
		"a|--password=x|--token=y|https://u:p@h/?token=z&q=": "a|--password=***|--token=***|https://u:***@h/?token=***&q=",
	} {
		got := strings.ReplaceAll(m.apply(strings.ReplaceAll(in, "|", "\x00")), "\x00", "|")
		if got != want {
			t.Errorf("%s\ngot  %s\nwant %s", in, got, want)
		}
	}
	own, err := newMask(&Config{Mask: true, Masks: []string{`me=(.*)`}})
	if err != nil || own.apply("a\x00me=1\x00b") != "a\x00me=***\x00" {
		t.Errorf("own mask: %q, %v", own.apply("a\x00me=1\x00b"), err)
	}
	if off, _ := newMask(&Config{Masks: DefaultMasks()}); off.apply("--password=x") != "--password=x" {
		t.Error("it masks though it is off")
	}
	if _, err := newMask(&Config{Mask: true, Masks: []string{"("}}); err == nil {
		t.Error("a broken mask was taken")
	}
	if len(DefaultMasks()) != len(defaultPatterns) {
		t.Error("not all default masks are told")
	}
}

// TestNeedles: what is looked for first must be in all that an expression matches.
func TestNeedles(t *testing.T) {
	for _, in := range []string{"--api-key=abc", "--Access_Key:abc", "--credentials=abc", "xPWD=abc", "--private-key=abc", "--auth_key=abc", "--passphrase=abc",
		"ASIAABCDEFGHIJKLMNOP", "github_pat_" + strings.Repeat("a", 40), "xoxb-1234567890", "glpat-" + strings.Repeat("a", 20), "AIza" + strings.Repeat("a", 35),
		"sk_live_" + strings.Repeat("a", 20), "curl\x00--proxy-user=a:b", "x\x00basic dXNlcjpw", "h://x:y@z", "mariadb\x00-px", "?code=abc"} {
		for i, p := range defaultPatterns {
			if p.re.MatchString(in) && !p.possible(strings.ToLower(in)) {
				t.Errorf("pattern %d matches %q, but its needles do not", i, in)
			}
		}
		if mask(defaultPatterns).apply(in) == in {
			t.Errorf("%q is not masked", in)
		}
	}
}

func FuzzStat(f *testing.F) {
	f.Add([]byte(statLine))
	f.Add([]byte("(\x80)0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0"))
	f.Add([]byte("Uid:\t1\t2\t3\t4\nCapEff:\tff\nbtime 5\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parseStat(b); err == nil && !strings.Contains(schemas.Text(string(b)), s.comm) {
			t.Fatalf("name %q is not in the line", s.comm)
		}
		parseUID(b)
		hasCapability(b, 3)
		_, _ = parseBootTime(b)
		parsePasswd(b)
	})
}

func FuzzCgroup(f *testing.F) {
	f.Add([]byte("0::/system.slice/docker-" + strings.Repeat("a", 64) + ".scope\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if id := containerID(b); id != "" && (len(id) != containerIDLen || !bytes.Contains(b, []byte(id))) {
			t.Fatalf("id %q", id)
		}
	})
}

func FuzzSocket(f *testing.F) {
	f.Add([]byte("   0: 0100007F:1F90 0200007F:D431 01 00000000:00000000 00:00000000 00000000  1000        0 98765 1"))
	f.Add([]byte("socket:[12]"))
	f.Add([]byte("Tcp: ActiveOpens PassiveOpens\nTcp: 1 2\nTCP: inuse 4\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, ok := parseSocket(b); ok && (!s.local.IsValid() || !s.remote.IsValid()) {
			t.Fatalf("%+v", s)
		}
		parseLink(string(b), "socket")
		var a activity
		a.addOpens(b)
		a.addUse(b)
	})
}

func FuzzKernelEvents(f *testing.F) {
	f.Add(append(message(eventFork, 0, 1, 10, 5, 6, 7, 8), message(eventExit, 1, 3, 12, 8, 8, 0x300, 17)...))
	f.Fuzz(func(_ *testing.T, b []byte) {
		g := gaps{}
		parseKernelEvents(b, func(e kernelEvent) { g.see(&e) })
	})
}

func FuzzMask(f *testing.F) {
	f.Add("mysql\x00-phunter2\x00--password=x\x00https://a:b@c/?token=d")
	f.Fuzz(func(t *testing.T, s string) {
		if got := mask(defaultPatterns).apply(s); strings.Count(got, "\x00") != strings.Count(s, "\x00") {
			t.Fatalf("%q became %q: not as many arguments", s, got)
		}
	})
}
