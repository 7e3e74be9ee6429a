package stdout

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/amoskys/amoskys/schemas"
)

// The colours of severities by OCSF severity_id: ANSI escape sequences (ECMA-48).
var colours = [...]string{1: "\x1b[36m", 2: "\x1b[32m", 3: "\x1b[33m", 4: "\x1b[31m", 5: "\x1b[1;31m", 6: "\x1b[1;31m"}

const colourEnd = "\x1b[0m"

// longest is how much of one text a card shows, in characters; the JSON form has all of it.
const longest = 240

// Card is an alert as a few lines for a person: what, where, which process and how it came to be, what it did, who found it
// and how unusual that is, and what was not seen. No text in it can move the cursor or change what is shown elsewhere.
func Card(a *schemas.Alert, colour bool) string {
	var b strings.Builder
	severity := strings.ToUpper(plain(a.Severity))
	if n := int(a.SeverityID); colour && n > 0 && n < len(colours) {
		severity = colours[n] + severity + colourEnd
	}
	host := a.Hostname
	if host == "" {
		host = a.Provenance.Host
	}
	fmt.Fprintf(&b, "%s  %s  %s  on %s  (risk %.0f)\n", schemas.Time(a.Provenance.Time), severity, plain(a.Title), plain(host), a.Risk)
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&b, "    %-10s %s\n", name, plain(text))
		}
	}
	line("why", a.Description)
	line("process", process(&a.Process))
	line("executable", a.Process.Path)
	line("user", a.Process.UserName)
	line("lineage", lineage(a))
	line("object", a.Object)
	line("related", related(a.Related))
	line("techniques", strings.Join(a.Techniques, " "))
	line("detectors", detectors(a.Detectors))
	line("coverage", coverage(&a.Provenance.Coverage))
	if a.HeldBack > 0 {
		line("held back", fmt.Sprintf("%d alerts of this host and day, by the budget", a.HeldBack))
	}
	line("alert", fmt.Sprintf("%s revision %d, %d causes", a.ID, a.Revision, len(a.Provenance.Causes)))
	return b.String()
}

func process(p *schemas.Process) string {
	if p.UID == "" {
		return ""
	}
	for _, what := range []string{p.CmdLine, p.Path, p.Name} {
		if what != "" {
			return fmt.Sprintf("%d %s", p.PID, what)
		}
	}
	return fmt.Sprint(p.PID)
}

// lineage is the names from the oldest known ancestor down to the process.
func lineage(a *schemas.Alert) string {
	var names []string
	for i := len(a.Lineage) - 1; i >= 0; i-- {
		names = append(names, a.Lineage[i].Name)
	}
	if a.Process.Name != "" {
		names = append(names, a.Process.Name)
	}
	return strings.Join(names, " → ")
}

// related names the other entities that belong to the alert.
func related(es []schemas.Entity) string {
	var texts []string
	for _, e := range es {
		text := e.Name
		if text == "" {
			text = e.UID
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ", ")
}

// detectors gives each with its p-value and its share of the evidence; a rule has no p-value.
func detectors(ms []schemas.Member) string {
	var texts []string
	for _, m := range ms {
		text := m.Name
		if m.PValue > 0 {
			text += fmt.Sprintf(" (p %.2g, %.0f %%)", m.PValue, 100*m.Weight)
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ", ")
}

func coverage(c *schemas.Coverage) string {
	text := fmt.Sprintf("%d events seen of this host", c.Received)
	if c.Since != 0 {
		text += " since " + schemas.Time(c.Since)
	}
	return text + fmt.Sprintf(", %d lost, %d suppressed, %d late", c.Lost, c.Suppressed, c.Late)
}

// plain makes a text one line of at most longest characters in which nothing controls a terminal: control characters
// (ECMA-48) and those that turn the direction of text (Unicode Cf) become U+FFFD. A command line must not write to the
// analyst's screen, nor hide there.
func plain(s string) string {
	n := 0
	for i := range s {
		if n++; n > longest {
			s = s[:i] + "…"
			break
		}
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
