package stdout

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/sinks/internal/record"
	"github.com/amoskys/amoskys/sinks/internal/sinktest"
	"github.com/amoskys/amoskys/streams"
)

// A pipe is a reader of what is printed that can go away.
type pipe struct {
	bytes.Buffer
	broken bool
}

func (p *pipe) Write(b []byte) (int, error) {
	if p.broken {
		return 0, errors.New("broken pipe")
	}
	return p.Buffer.Write(b)
}

func TestSink(t *testing.T) {
	sinktest.TestSink(t, func(t *testing.T) *sinktest.Destination {
		p := new(pipe)
		return &sinktest.Destination{
			Open: func() (streams.Sink, error) { return New(p, Options{JSON: true}), nil },
			Held: func() (keys []string, err error) {
				for l := range strings.Lines(p.String()) {
					var a schemas.Alert
					if err := json.Unmarshal([]byte(l), &a); err != nil {
						return nil, err
					}
					keys = append(keys, record.Key(&streams.Delivery{Value: &a}))
				}
				return keys, nil
			},
			Break: func() func() { p.broken = true; return func() { p.broken = false } },
		}
	}, sinktest.Features{})
}

func TestCard(t *testing.T) {
	a := sinktest.Alert(7).(*schemas.Alert)
	a.HeldBack, a.Object, a.Description = 3, "10.0.0.1:4444", "Never seen here."
	want := schemas.Time(a.Provenance.Time) + `  HIGH  alert 7: <b>"x" & 'y'�  on h  (risk 72)
    why        Never seen here.
    process    4711 sh -c �[2Jid��
    executable /bin/sh
    lineage    systemd → nginx → sh
    object     10.0.0.1:4444
    techniques T1059.004
    detectors  signature, rarity (p 0.0001, 40 %)
    coverage   7 events seen of this host since ` + schemas.Time(a.Provenance.Coverage.Since) + `, 2 lost, 0 suppressed, 0 late
    held back  3 alerts of this host and day, by the budget
    alert      ` + a.ID + ` revision 1, 1 causes
`
	got := Card(a, false)
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	coloured := Card(a, true)
	if strings.Replace(strings.Replace(coloured, colours[4], "", 1), colourEnd, "", 1) != Card(a, false) || strings.Count(coloured, "\x1b") != 2 {
		t.Errorf("with colour it says something else: %q", coloured)
	}
}

func TestCardOfLittle(t *testing.T) {
	got := Card(&schemas.Alert{ID: "x", Title: "t", Severity: "Low", SeverityID: 99, Process: schemas.Process{UID: "u", PID: 5}, Hostname: "name"}, true)
	for _, want := range []string{"LOW  t  on name", "process    5\n", "0 events seen of this host, 0 lost", "x revision 0, 0 causes"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if strings.Contains(got, "lineage") || strings.Contains(got, "\x1b") {
		t.Errorf("empty lines, or a colour that there is not:\n%s", got)
	}
}

// Whatever an attacker names things, a card is its lines and nothing else.
func FuzzCard(f *testing.F) {
	f.Add("\x1b]0;x\a", "a\nb", "\u202egnp.exe")
	f.Add(strings.Repeat("é", 1000), "\x9b31m", "\xff\xfe")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		card := Card(&schemas.Alert{Title: a, Severity: b, Hostname: c, Object: a, Techniques: []string{b}, Process: schemas.Process{UID: a, Name: c, CmdLine: b, Path: c, UserName: a},
			Lineage: []schemas.Ancestor{{Name: b}}, Detectors: []schemas.Member{{Name: a, PValue: 1}}}, false)
		for i, l := range strings.Split(strings.TrimSuffix(card, "\n"), "\n") {
			if strings.ContainsFunc(l, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }) || i > 0 && !strings.HasPrefix(l, "    ") {
				t.Errorf("line %d is %q", i, l)
			}
			if n := len([]rune(l)); n > 3*longest+100 {
				t.Errorf("line %d has %d characters", i, n)
			}
		}
	})
}

func TestOtherRecords(t *testing.T) {
	incident := streams.Delivery{Topic: "x", Offset: 1, Value: &schemas.Incident{ID: "i"}}
	broken := streams.Delivery{Topic: "x", Offset: 2, Raw: []byte{1}, Err: errors.New("decode: \x1b no")}
	none := streams.Delivery{Topic: "x", Offset: 3}
	for _, o := range []Options{{}, {JSON: true}} {
		var b bytes.Buffer
		if err := New(&b, o).Deliver(t.Context(), []streams.Delivery{incident, broken, none}); err != nil {
			t.Fatal(err)
		}
		text := b.String()
		for _, want := range []string{`"id":"i"`, "decode: ", "no value"} {
			if !strings.Contains(text, want) {
				t.Errorf("%+v: %q is not in %q", o, want, text)
			}
		}
		if strings.Contains(text, "\x1b") || strings.Count(text, "\n") != 3 {
			t.Errorf("%+v: %q", o, text)
		}
		zero := 0.0
		if err := New(&b, Options{JSON: true}).Deliver(t.Context(), []streams.Delivery{{Value: &schemas.Alert{Risk: 1 / zero}}}); !streams.IsPermanent(err) {
			t.Errorf("got %v, want a permanent error", err)
		}
	}
}
