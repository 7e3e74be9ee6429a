package schemas

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/gowebpki/jcs"
)

// Severities by OCSF severity_id.
var Severities = [...]string{"Unknown", "Informational", "Low", "Medium", "High", "Critical", "Fatal"}

// AlertID is the id of an alert: the first 16 bytes, in hex, of a SHA-256 over tenant, detector or rule, entity, and the
// window start in nanoseconds or, without a window, the first cause. Revisions and versions do not change it.
func AlertID(tenant, detector, entity string, windowStart int64, firstCause string) string {
	at := firstCause
	if windowStart != 0 {
		at = strconv.FormatInt(windowStart, 10)
	}
	b := make([]byte, 0, 256)
	for _, s := range [...]string{tenant, detector, entity, at} {
		b = append(appendPart(b, s), '/')
	}
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:16])
}

// Time formats event time as RFC 3339 with nanoseconds, UTC; an empty text for 0.
func Time(ns int64) string {
	if ns == 0 {
		return ""
	}
	return time.Unix(0, ns).UTC().Format(time.RFC3339Nano)
}

type alertJSON struct {
	ID          string     `json:"id"`
	Revision    int32      `json:"revision"`
	Time        string     `json:"time"`
	Tenant      string     `json:"tenant"`
	Host        string     `json:"host"`
	Hostname    string     `json:"hostname,omitempty"`
	Title       string     `json:"title"`
	Description string     `json:"description,omitempty"`
	Severity    string     `json:"severity"`
	SeverityID  int32      `json:"severity_id"`
	Risk        float64    `json:"risk"`
	Confidence  float64    `json:"confidence"`
	FusedP      float64    `json:"fused_p"`
	Techniques  []string   `json:"techniques"`
	Tactics     []string   `json:"tactics"`
	Entity      Entity     `json:"entity"`
	Process     procJSON   `json:"process"`
	Lineage     []Ancestor `json:"lineage"`
	Object      string     `json:"object,omitempty"`
	Detectors   []Member   `json:"detectors"`
	Features    []Feature  `json:"features"`
	Causes      []string   `json:"causes"`
	Inputs      []Origin   `json:"inputs,omitempty"`
	Coverage    covJSON    `json:"coverage"`
	HeldBack    int64      `json:"held_back"`
	Related     []Entity   `json:"related"`
}

type procJSON struct {
	Process
	CreatedTime string `json:"created_time,omitempty"`
}

type covJSON struct {
	Received   int64  `json:"received"`
	Lost       int64  `json:"lost"`
	Suppressed int64  `json:"suppressed"`
	Late       int64  `json:"late"`
	Repeats    int64  `json:"repeats"`
	Since      string `json:"since,omitempty"`
}

func (a *Alert) json() alertJSON {
	p := &a.Provenance
	c := p.Coverage
	return alertJSON{a.ID, a.Revision, Time(p.Time), p.Tenant, p.Host, a.Hostname, a.Title, a.Description, a.Severity, a.SeverityID, a.Risk, a.Confidence,
		a.FusedP, list(a.Techniques), list(a.Tactics), a.Entity, procJSON{a.Process, Time(a.Process.CreatedTime)}, list(a.Lineage), a.Object, list(a.Detectors),
		list(a.Features), list(p.Causes), a.Inputs, covJSON{c.Received, c.Lost, c.Suppressed, c.Late, c.Repeats, Time(c.Since)}, a.HeldBack, list(a.Related)}
}

// list turns nil into an empty list, so that JSON never says null.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// MarshalJSON writes the alert in the form that is promised to SOC teams, see docs/alerts.md.
func (a *Alert) MarshalJSON() ([]byte, error) { return json.Marshal(a.json()) }

// UnmarshalJSON reads what MarshalJSON wrote.
func (a *Alert) UnmarshalJSON(text []byte) error {
	var x alertJSON
	if err := json.Unmarshal(text, &x); err != nil {
		return err
	}
	*a = Alert{ID: x.ID, Revision: x.Revision, Title: x.Title, Description: x.Description, Severity: x.Severity, SeverityID: x.SeverityID, Risk: x.Risk,
		Confidence: x.Confidence, FusedP: x.FusedP, Entity: x.Entity, Process: x.Process.Process, Lineage: x.Lineage, Techniques: x.Techniques, Tactics: x.Tactics,
		Detectors: x.Detectors, Features: x.Features, Object: x.Object, Inputs: x.Inputs, HeldBack: x.HeldBack, Hostname: x.Hostname, Related: x.Related,
		Provenance: Provenance{Tenant: x.Tenant, Host: x.Host, Causes: x.Causes, Coverage: Coverage{Received: x.Coverage.Received, Lost: x.Coverage.Lost,
			Suppressed: x.Coverage.Suppressed, Late: x.Coverage.Late, Repeats: x.Coverage.Repeats}}}
	for _, t := range []struct {
		text string
		to   *int64
	}{{x.Time, &a.Provenance.Time}, {x.Coverage.Since, &a.Provenance.Coverage.Since}, {x.Process.CreatedTime, &a.Process.CreatedTime}} {
		if t.text == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339Nano, t.text)
		if err != nil {
			return fmt.Errorf("read alert %s: %w", x.ID, err)
		}
		*t.to = at.UnixNano()
	}
	return nil
}

// Canonical is the alert as RFC 8785 JSON without locators: two runs over the same events give the same bytes.
func (a *Alert) Canonical() ([]byte, error) {
	x := a.json()
	x.Inputs = nil
	text, err := json.Marshal(x)
	if err != nil {
		return nil, err
	}
	return jcs.Transform(text)
}

// Digest is the digest of a set of alerts: SHA-256, in hex, over their canonical forms, each followed by a line feed,
// in sorted order. Equal digests are what "the same alerts" means.
func Digest(alerts []*Alert) (string, error) {
	lines := make([]string, 0, len(alerts))
	for _, a := range alerts {
		c, err := a.Canonical()
		if err != nil {
			return "", fmt.Errorf("canonical form of alert %s: %w", a.ID, err)
		}
		lines = append(lines, string(c))
	}
	slices.Sort(lines)
	h := sha256.New()
	for _, l := range lines {
		h.Write([]byte(l))
		h.Write([]byte{'\n'})
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
