package ensemble

import (
	"cmp"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/amoskys/amoskys/processors/internal/paths"
	"github.com/amoskys/amoskys/schemas"
)

// title says in a line what happened.
func (a *alertRow) title() string {
	v := &a.Alert
	if a.Certain {
		for _, m := range a.Members {
			if m.P == 0 {
				return m.Title
			}
		}
	}
	who := v.Entity.Name
	switch a.Members[0].Name {
	case gated[0]:
		return "Program that rarely runs here: " + who
	case gated[1]:
		if len(v.Lineage) > 0 {
			return fmt.Sprintf("Program that %s rarely starts: %s", cmp.Or(v.Lineage[0].Name, paths.Base(v.Lineage[0].Path)), who)
		}
	case gated[2]:
		return who + " touches something new to it"
	}
	return "Unusual process: " + who
}

// describe says in sentences why it is unusual, with numbers.
func (a *alertRow) describe(host *hostRow, now int64) string {
	v := &a.Alert
	var b strings.Builder
	b.WriteString(who(&v.Process, v.Lineage))
	if a.Certain {
		b.WriteString(" met a rule that is certain by itself and needs no baseline")
		if v.Object != "" && v.Object != v.Process.Path {
			fmt.Fprintf(&b, "; it acted on %s", v.Object)
		}
		for _, o := range a.Objects {
			fmt.Fprintf(&b, ", %s", o)
		}
		b.WriteString(".")
		if a.Repeats > 0 {
			fmt.Fprintf(&b, " Times it was said again: %d.", a.Repeats)
		}
	} else {
		fmt.Fprintf(&b, " is more unusual than %s of the last %d processes judged on this host (p %.2g).", percent(v.FusedP), a.Behind, v.FusedP)
	}
	if lacks := v.Process.IncompleteInWords(); lacks != "" {
		fmt.Fprintf(&b, " Not known of it: %s.", lacks)
	}
	for _, m := range a.Members {
		if m.P > 0 {
			fmt.Fprintf(&b, " %s (%s, p %.2g).", upperFirst(m.Title), m.Name, m.P)
		}
	}
	if n := int64(len(a.Related)) + a.More; n > 0 {
		fmt.Fprintf(&b, " Unusual processes that belong to it, %d:", n)
		for i, r := range a.Related {
			sep := ";"
			if i == len(a.Related)-1 {
				sep = "."
			}
			fmt.Fprintf(&b, " %s (pid %d, p %.2g: %s)%s", cmp.Or(r.Path, "one "+unnamed), r.PID, r.P, r.Title, sep)
		}
	}
	if now-host.Rate.At < rateLife.Nanoseconds() {
		fmt.Fprintf(&b, " On the host, %s.", host.Rate.Title)
	}
	return b.String()
}

// who names a process and who started it.
func who(p *schemas.Process, lineage []schemas.Ancestor) string {
	var b strings.Builder
	b.WriteString("Process " + nameOf(p))
	var parts []string
	if p.PID != 0 {
		parts = append(parts, fmt.Sprintf("pid %d", p.PID))
	}
	if user := cmp.Or(p.UserName, p.UserUID); user != "" {
		parts = append(parts, "user "+user)
	}
	if len(parts) > 0 {
		b.WriteString(" (" + strings.Join(parts, ", ") + ")")
	}
	if len(lineage) > 0 {
		b.WriteString(", started by ")
		for i, a := range lineage {
			if i > 0 {
				b.WriteString(" ← ")
			}
			b.WriteString(cmp.Or(a.Name, paths.Base(a.Path), "an unknown process"))
		}
		b.WriteString(",")
	}
	return b.String()
}

const (
	maxWord = 256 // bytes of a path in a sentence; the fields of the alert have more
	unnamed = "of which only the id is known"
)

func nameOf(p *schemas.Process) string { return paths.Cut(cmp.Or(p.Path, p.Name, unnamed), maxWord) }

// percent is the share of processes that a p-value leaves below.
func percent(p float64) string {
	digits := 0
	for x := 100 * p; x < 0.95 && digits < 4; x *= 10 {
		digits++
	}
	return fmt.Sprintf("%.*f %%", digits, 100*(1-p))
}

func upperFirst(s string) string {
	_, n := utf8.DecodeRuneInString(s)
	return strings.ToUpper(s[:n]) + s[n:]
}
