package file

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
)

func TestParseTime(t *testing.T) {
	for in, want := range map[string]string{
		"2024-07-24 12:14:02.015":           "2024-07-24T12:14:02.015Z",
		`"2024-07-24T12:14:02.015Z"`:        "2024-07-24T12:14:02.015Z",
		"2024-07-24T12:14:02":               "2024-07-24T12:14:02Z",
		"2024-07-24T12:14:02.165324Z":       "2024-07-24T12:14:02.165324Z",
		"2024-07-24T12:14:02.1653249999999": "2024-07-24T12:14:02.165324999Z",
		"2024-07-24T12:14:02+02:00":         "2024-07-24T10:14:02Z",
		"2024-07-24T12:14:02.5-0330":        "2024-07-24T15:44:02.5Z",
		"2024-07-24":                        "",
		"2024-13-24 12:14:02":               "",
		"2024-07-24 12:14:02 CEST":          "",
		"2024-07-24 12-14-02":               "",
		"1699-07-24 12:14:02":               "",
		"20x4-07-24 12:14:02":               "",
		"":                                  "",
	} {
		ns, ok := parseTime([]byte(in))
		if got := schemas.Time(ns); ok != (want != "") || got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

func TestQuarters(t *testing.T) {
	for in, want := range map[time.Duration]time.Duration{0: 0, time.Minute: 0, 8 * time.Minute: 15 * time.Minute, -4*time.Hour + 2*time.Second: -4 * time.Hour,
		-4*time.Hour - 2*time.Second: -4 * time.Hour, 5*time.Hour + 45*time.Minute - 3*time.Second: 5*time.Hour + 45*time.Minute, -8 * time.Minute: -15 * time.Minute} {
		if got := time.Duration(quarters(int64(in))); got != want {
			t.Errorf("%v is %v, want %v", in, got, want)
		}
	}
}

// TestClocks reads records whose shippers take local time for UTC, in ways that were seen.
func TestClocks(t *testing.T) {
	const security = `{"Channel":"Security","EventID":5154,"ProcessId":"4","Hostname":"`
	const sysmon = `{"Channel":"Microsoft-Windows-Sysmon/Operational","EventID":5,"ProcessId":"4","Hostname":"`
	for _, tc := range []struct {
		what, want string
		lines      []string
	}{
		{"no Sysmon: as it is", "2024-01-01T05:00:00Z", []string{security + `a","TimeCreated":"2024-01-01T05:00:00Z"}`}},
		{"Sysmon of the host comes later", "2024-01-01T12:00:00Z", []string{security + `a","TimeCreated":"2024-01-01T05:00:00Z"}`,
			sysmon + `b","TimeCreated":"2024-01-01T09:00:00Z","UtcTime":"2024-01-01 12:00:01.000"}`, sysmon + `a","TimeCreated":"2024-01-01T05:00:01Z","UtcTime":"2024-01-01 12:00:01.000"}`}},
		{"Sysmon of another host", "2024-01-01T08:00:00Z", []string{security + `a","TimeCreated":"2024-01-01T05:00:00Z"}`,
			sysmon + `b","TimeCreated":"2024-01-01T09:00:00Z","UtcTime":"2024-01-01 12:00:01.000"}`}},
		{"12-hour clock that passes noon", "2024-01-01T13:00:05Z", []string{sysmon + `a","TimeCreated":"2024-01-01T12:59:00Z","UtcTime":"2024-01-01 12:59:00.000"}`,
			sysmon + `a","TimeCreated":"2024-01-01T01:00:01Z","UtcTime":"2024-01-01 13:00:01.000"}`, security + `a","TimeCreated":"2024-01-01T01:00:05Z"}`}},
		{"local time without zone, no Sysmon", "2024-01-01T11:00:00Z", []string{security + `a","EventTime":"2024-01-01 05:00:00","@timestamp":"2024-01-01T11:00:02.500Z"}`}},
		{"local time without zone or anything else", "2024-01-01T05:00:00Z", []string{security + `a","EventTime":"2024-01-01 05:00:00"}`}},
		{"Sysmon without other times", "2024-01-01T12:00:01Z", []string{sysmon + `a","UtcTime":"2024-01-01 12:00:01.000"}`}},
		{"Sysmon without its own time", "2024-01-01T05:00:00Z", []string{sysmon + `a","TimeCreated":"2024-01-01T05:00:00Z"}`}},
	} {
		events, _ := read(t, write(t, "clock.json", []byte(strings.Join(tc.lines, "\n"))), Config{Format: Sysmon})
		i := 0
		if strings.HasPrefix(tc.what, "12-hour") {
			i = 2
		}
		if got := schemas.Time(events[i].Env().Time); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.what, got, tc.want)
		}
	}
}

func TestBadRecords(t *testing.T) {
	d := windows{skip: func(*schemas.Envelope, skip) {}}
	for line, want := range map[string]string{
		`{"Channel":"Security"}`:                                 errNoEvent.Error(),
		`{"EventID":{"#attributes":{}},"Hostname":"h"}`:          errNoEvent.Error(),
		`{"EventID":1}`:                                          "names no host",
		`{"EventID":1,"Hostname":""}`:                            "names no host",
		`{"EventID":1,"Hostname":"h","TimeCreated":"yesterday"}`: "no time",
		`{"EventID":1,"Hostname":"h"`:                            "middle of a value",
		`{"EventID":1,"Hostname":"h"} {}`:                        "something follows",
		`{"EventID":1 "Hostname":"h"}`:                           "a comma",
		`{"EventID" 1}`:                                          "a colon",
		`{EventID:1}`:                                            "a name in quotes",
		`{"EventID":01}`:                                         "does not begin a JSON value",
		`{"EventID":[1}}`:                                        "closes nothing",
		`{"EventID":` + strings.Repeat("[", maxDepth+1) + `}`:    "nested too deep",
		`{"EventID":1,"Hostname":"h`:                             "middle of a value",
		`{"EventID":1,`:                                          "middle of a value",
		`{"EventID"`:                                             "middle of a value",
		`{"EventID":`:                                            "middle of a value",
		`{`:                                                      "middle of a value",
		`{"EventID":"x","Hostname":"h","@timestamp":"2024-01-01T00:00Z"}`: "no time",
	} {
		if _, err := d.decode([]byte(line)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", line, err, want)
		}
	}
}

// TestOddRecords holds what real records do not: the mapping must live with all of it.
func TestOddRecords(t *testing.T) {
	const head = `{"Hostname":"h","TimeCreated":"2024-01-01T00:00:00Z","Channel":`
	for _, tc := range []struct{ line, want string }{
		{`"Security","EventID":4663,"ObjectType":"File","ObjectName":"-"}`, ""},
		{`"Security","EventID":"none"}`, ""},
		{`"Security","EventID":4663,"ObjectType":"File","ObjectName":"C:\\x","AccessMask":"0x0"}`, `"activity_id"`},
		{`"Microsoft-Windows-Sysmon/Operational","EventID":17,"PipeName":"bare"}`, `"path":"\\\\.\\pipe\\bare"`},
		{`"Microsoft-Windows-Sysmon/Operational","EventID":22,"QueryStatus":"87","QueryResults":"type: ;;"}`, `"rcode":87`},
		{`"Microsoft-Windows-Sysmon/Operational","EventID":22,"QueryStatus":"99999999999"}`, `"dst":{}`},
		{`"Microsoft-Windows-Sysmon/Operational","EventID":5,"ProcessGuid":"{odd}","ProcessId":"0x"}`, `"uid":"{odd}"`},
		{`"Microsoft-Windows-Sysmon/Operational","EventID":5,"ProcessGuid":"{zzzzzzzz-zzzz-zzzz-zzzz-zzzzzzzzzzzz}","ProcessId":"99999999999999999999"}`, `"uid":"{zzzzzzzz-`},
		{`"Microsoft-Windows-Sysmon/Operational","EventID":5,"ProcessGuid":"{00000001-0001-0000-0000-000000000001}"}`, `"process":{"uid":"{00000001-0001-0000-0000-000000000001}"}`},
		{`"Microsoft-Windows-Sysmon/Operational","EventID":5,"Message":"ProcessId:"}`, `"process":{}`},
	} {
		d := windows{skip: func(*schemas.Envelope, skip) {}}
		e, err := d.decode([]byte(head + tc.line))
		if err != nil {
			t.Errorf("%s: %v", tc.line, err)
			continue
		}
		if (e == nil) != (tc.want == "") {
			t.Errorf("%s gives %v", tc.line, e)
		} else if e != nil {
			if got := line(t, e); !strings.Contains(got, tc.want) && tc.want != `"activity_id"` || tc.want == `"activity_id"` && strings.Contains(got, tc.want) {
				t.Errorf("%s gives %s, want %s", tc.line, got, tc.want)
			}
		}
	}
}

// TestMemoryOfProcessesIsBounded shows more processes than are remembered.
func TestMemoryOfProcessesIsBounded(t *testing.T) {
	h := newWinHost("h", "b")
	for i := range int64(maxKnown + 10) {
		h.byPID(i+1, "")
		h.byGUID([]byte(`"{`+time.Duration(i).String()+`}"`), 0)
	}
	if len(h.pids) > maxKnown || len(h.guids) > maxKnown || len(h.pids) < 5 {
		t.Errorf("%d pids and %d GUIDs are remembered", len(h.pids), len(h.guids))
	}
}

// TestGraphWithoutIDs reads a graph whose processes carry no GUIDs, whose parents form a circle, and whose nodes have
// names of all kinds.
func TestGraphWithoutIDs(t *testing.T) {
	dir := t.TempDir()
	nodes := "\xef\xbb\xbfguid,node,type,name,first_seen_us\n,1,process,/sbin/init,1\n,2,process,/bin/sh,1\nodd,3,process,,1\n,4,socket,nowhere,1\n,5,socket,[odd]:port,1\n"
	edges := "\xef\xbb\xbfts_us,src,dst,type,actor_process_node\r\n5,1,2,procstart,2\r\n6,2,1,procend,1\r\n7,3,4,netconn,3\r\n\r\n8,5,3,netconn,3\r\n9,3,1,filemod,3\r\n"
	for f, c := range map[string]string{nodesFile: nodes, edgesFile: edges} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte(c), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	events, sum := read(t, dir, Config{Format: EDR})
	var got []string
	for _, e := range events {
		env := e.Env()
		got = append(got, e.SchemaName())
		if env.Host != strings.ToLower(filepath.Base(dir)) || env.Platform != "" {
			t.Errorf("event of host %q, platform %q; want the folder's name and none", env.Host, env.Platform)
		}
	}
	want := "ProcessExec ProcessExec ProcessExit ProcessExec NetworkActivity NetworkActivity FileActivity CollectorStatus"
	if s := strings.Join(got, " "); s != want || sum.Bad != 0 {
		t.Errorf("got %s with %d bad lines\nwant %s", s, sum.Bad, want)
	}
	first := events[0].(*schemas.ProcessExec)
	second := events[1].(*schemas.ProcessExec)
	if first.Process.UID != "node-2" || first.Parent.UID != "node-1" || second.Process.UID != "node-1" || !first.Snapshot {
		t.Errorf("processes are %+v and %+v", first, second)
	}
	if n := events[5].(*schemas.NetworkActivity); n.Dst.IP != "[odd]" || n.Dst.Port != 0 {
		t.Errorf("endpoint is %+v", n.Dst)
	}
}

func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":1}`, ` { "a" : [1,{"b":"\\\""}] , "\u0041":null,"c":-1.5e+3} `, `{"a":"\ud83d\ude00 \ud83d x"}`, `{"a":"` + "\xff" + `"}`, goodLine} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var got []field
		m := objectOf(b)
		for m.next() {
			got = append(got, field{m.key, m.value})
			_ = text(m.value)
			_ = number(m.value)
		}
		if err := m.end(); !json.Valid(b) || bytes.IndexByte(bytes.TrimSpace(b), '{') != 0 {
			return // we may take more than JSON, since what is passed over is not looked at
		} else if err != nil {
			if errors.Is(err, errTooDeep) {
				return
			}
			t.Fatalf("%q: %v", b, err)
		}
		want := map[string]json.RawMessage{}
		if err := json.Unmarshal(b, &want); err != nil {
			t.Fatal(err)
		}
		for _, g := range got {
			key := text(append(append([]byte{'"'}, g.key...), '"'))
			if _, ok := want[key]; !ok {
				t.Fatalf("%q: member %q is not there", b, key)
			}
			var s string
			if g.value[0] == '"' && json.Unmarshal(g.value, &s) == nil && text(g.value) != s {
				t.Fatalf("%q is %q, want %q", g.value, text(g.value), s)
			}
		}
		if len(got) < len(want) {
			t.Fatalf("%q: %d members, want %d", b, len(got), len(want))
		}
	})
}

func FuzzTime(f *testing.F) {
	f.Add("2024-07-24 12:14:02.015")
	f.Add("2024-02-30T12:14:02.5+02:00")
	f.Fuzz(func(t *testing.T, s string) {
		ns, ok := parseTime([]byte(s))
		if want, err := time.Parse(time.RFC3339Nano, s); err == nil && want.Format(time.RFC3339Nano) == s && want.Year() >= 1970 && want.Year() <= 2200 {
			if !ok || ns != want.UnixNano() {
				t.Fatalf("%q is %d, %v; want %d", s, ns, ok, want.UnixNano())
			}
		}
	})
}

// fuzzFile reads a file as a recording and checks the promises that hold for every input.
func fuzzFile(t *testing.T, path, format string) {
	r, err := Open(path, Config{Format: format})
	if err != nil {
		return
	}
	defer r.Close()
	hosts, sequence := map[string]bool{}, map[string]int64{}
	for {
		e, err := r.Next()
		if err != nil {
			break
		}
		env := e.Env()
		hosts[env.Host] = true
		if env.Tenant != defaultTenant || env.Host == "" || env.Boot == "" || env.Collector == "" || env.Sequence == 0 {
			t.Fatalf("event %s has no whole identity", env.EventID())
		}
		if env.Boot == r.boot && env.Collector == name {
			if sequence[env.Host]++; env.Sequence != sequence[env.Host] {
				t.Fatalf("event %s follows number %d", env.EventID(), sequence[env.Host]-1)
			}
		}
		if _, err := json.Marshal(e); err != nil {
			t.Fatal(err)
		}
	}
	s := r.Summary()
	var skipped int64
	for _, x := range s.Skipped {
		skipped += x.Count
	}
	if format != EDR && s.Lines != s.Events+skipped+s.Bad {
		t.Fatalf("%d lines, but %d events, %d skipped, %d bad", s.Lines, s.Events, skipped, s.Bad)
	}
}

func FuzzWindows(f *testing.F) {
	for _, n := range []string{"sysmon.jsonl", "nxlog.jsonl", "winlogbeat.jsonl"} {
		for _, l := range bytes.Split(sample(f, n), []byte("\n")) {
			f.Add(l)
		}
	}
	f.Add(sample(f, "xml.json"))
	path := filepath.Join(f.TempDir(), "fuzz")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		fuzzFile(t, path, Sysmon)
	})
}

func FuzzOwn(f *testing.F) {
	for _, l := range bytes.Split(sample(f, "own.jsonl"), []byte("\n")) {
		f.Add(l)
	}
	path := filepath.Join(f.TempDir(), "fuzz")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		fuzzFile(t, path, Amoskys)
		fuzzFile(t, path, Auto)
	})
}

func FuzzGraph(f *testing.F) {
	f.Add(sample(f, "graph/nodes.csv"), sample(f, "graph/edges.csv"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, nodes, edges []byte) {
		for n, b := range map[string][]byte{nodesFile: nodes, edgesFile: edges} {
			if err := os.WriteFile(filepath.Join(dir, n), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		fuzzFile(t, dir, EDR)
	})
}

// A host that some records write in capitals is one host: what Sysmon tells of it is not told again by its Security log.
func TestHostInAnyCase(t *testing.T) {
	path := write(t, "case.jsonl", []byte(`{"EventID":1,"Channel":"Microsoft-Windows-Sysmon/Operational","Hostname":"WS1.acme.test","UtcTime":"2024-07-24 12:00:00.000","ProcessGuid":"{6c1ed4ad-0001-66a0-0100-000000000100}","ProcessId":"7","Image":"C:\\a.exe","ParentImage":"C:\\b.exe","ParentProcessId":"4"}
{"EventID":4688,"Channel":"Security","Hostname":"ws1.acme.test","@timestamp":"2024-07-24T12:00:00.000Z","NewProcessId":"0x7","ProcessId":"0x4","NewProcessName":"C:\\a.exe"}
{"EventID":4663,"Channel":"Security","Hostname":"ws1.acme.test","@timestamp":"2024-07-24T12:00:01.000Z","ProcessId":"0x7","ProcessName":"C:\\a.exe","ObjectType":"File","ObjectName":"C:\\x","AccessMask":"0x1"}
`))
	events, sum := read(t, path, Config{})
	if len(sum.Hosts) != 1 || len(events) != 3 {
		t.Fatalf("%d events of hosts %v, want a start, a file and the end of one host", len(events), sum.Hosts)
	}
	if got, want := events[1].(*schemas.FileActivity).Process.UID, events[0].(*schemas.ProcessExec).Process.UID; got != want {
		t.Errorf("the process that touched the file is %q, want %q", got, want)
	}
}
