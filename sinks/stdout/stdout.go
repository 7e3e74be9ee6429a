// Package stdout prints alerts for people, or as JSON lines.
package stdout

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

// A Sink prints to a writer.
type Sink struct {
	W      io.Writer
	JSON   bool
	Colour bool
}

// Deliver implements streams.Sink.
func (s *Sink) Deliver(_ context.Context, batch []streams.Delivery) error {
	for _, d := range batch {
		a, ok := d.Value.(*schemas.Alert)
		var err error
		switch {
		case d.Value == nil:
			continue
		case s.JSON || !ok:
			var b []byte
			if b, err = json.Marshal(d.Value); err == nil {
				_, err = fmt.Fprintf(s.W, "%s\n", b)
			}
		default:
			_, err = io.WriteString(s.W, Card(a, s.Colour))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Close implements streams.Sink. The writer is not the sink's to close.
func (s *Sink) Close() error { return nil }

// The colours of severities: ANSI escape sequences (ECMA-48).
var colours = [...]string{1: "\x1b[36m", 2: "\x1b[32m", 3: "\x1b[33m", 4: "\x1b[31m", 5: "\x1b[1;31m", 6: "\x1b[1;31m"}

// Card is an alert as a few lines for a person. What comes from outside is quoted where it could move the cursor.
func Card(a *schemas.Alert, colour bool) string {
	var b strings.Builder
	sev := strings.ToUpper(a.Severity)
	if c := int(a.SeverityID); colour && c > 0 && c < len(colours) {
		sev = colours[c] + sev + "\x1b[0m"
	}
	host := a.Hostname
	if host == "" {
		host = a.Provenance.Host
	}
	fmt.Fprintf(&b, "%s  %s  %s  on %s  (risk %.0f)\n", schemas.Time(a.Provenance.Time), sev, plain(a.Title), plain(host), a.Risk)
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&b, "    %-10s %s\n", name, plain(text))
		}
	}
	if p := &a.Process; p.UID != "" {
		what := p.CmdLine
		if what == "" {
			what = p.Path
		}
		line("process", fmt.Sprintf("%d %s", p.PID, short(what)))
		line("executable", p.Path)
		line("user", p.UserName)
	}
	line("lineage", chain(a))
	line("object", a.Object)
	line("techniques", strings.Join(a.Techniques, " "))
	var ds []string
	for _, d := range a.Detectors {
		if d.PValue > 0 {
			ds = append(ds, fmt.Sprintf("%s (p %.2g, %.0f %%)", d.Name, d.PValue, 100*d.Weight))
			continue
		}
		ds = append(ds, d.Name)
	}
	line("detectors", strings.Join(ds, ", "))
	c := a.Provenance.Coverage
	line("coverage", fmt.Sprintf("%d events seen of this host since %s, %d lost, %d suppressed, %d late", c.Received, schemas.Time(c.Since), c.Lost, c.Suppressed, c.Late))
	if a.HeldBack > 0 {
		line("held back", fmt.Sprintf("%d alerts of this day by the budget", a.HeldBack))
	}
	line("alert", fmt.Sprintf("%s revision %d, %d causes", a.ID, a.Revision, len(a.Provenance.Causes)))
	return b.String()
}

// chain is the lineage from the oldest known ancestor down.
func chain(a *schemas.Alert) string {
	var names []string
	for i := len(a.Lineage) - 1; i >= 0; i-- {
		names = append(names, a.Lineage[i].Name)
	}
	if a.Process.Name != "" {
		names = append(names, a.Process.Name)
	}
	return strings.Join(names, " → ")
}

// cardText is how much of a long text a card shows, characters; the alert itself holds all of it.
const cardText = 200

func short(s string) string {
	if r := []rune(s); len(r) > cardText {
		return string(r[:cardText]) + "…"
	}
	return s
}

// plain makes control characters visible: a command line must not write to the analyst's terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '�'
		}
		return r
	}, s)
}
