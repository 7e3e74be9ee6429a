package ensemble

import (
	"cmp"
	"math"
	"slices"

	"github.com/amoskys/amoskys/processors/internal/paths"
	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

// alertRow is an alert that still takes evidence in. Its key is that of the host, the detector and the entity.
type alertRow struct {
	Alert   schemas.Alert `avro:"alert"` // as it was last, or will be next
	Certain bool          `avro:"certain"`
	Members []memberRow   `avro:"members"`
	Behind  int64         `avro:"behind"`  // processes behind the p-value
	Related []relatedRow  `avro:"related"` // other processes that joined
	More    int64         `avro:"more"`    // and how many more did
	Repeats int64         `avro:"repeats"` // certain: how often it was said again
	Objects []string      `avro:"objects"` // certain: on which further objects
	Links   []string      `avro:"links"`   // keys of linkRows
	Opened  int64         `avro:"opened"`
	Changed bool          `avro:"changed"` // since the last revision
}

// relatedRow is another process that joined an alert.
type relatedRow struct {
	UID   string  `avro:"uid"`
	Path  string  `avro:"path"`
	PID   int64   `avro:"pid"`
	P     float64 `avro:"p"`
	Title string  `avro:"title"`
}

// linkRow says that an entity, or what is like it, belongs to an alert. Its key is that of the host and the process, or
// of the host and what processes are alike by.
type linkRow struct {
	Alert string `avro:"alert"` // key of the alertRow
	Tree  bool   `avro:"tree"`  // so do its descendants
}

const (
	maxOpen    = 4096 // alerts of a host that take evidence in; further ones do not
	maxRelated = 16
	maxLinks   = 64
	maxObjects = 16
)

// likeKey is the key under which a process is found by its program and that of its parent.
func (x *step) likeKey() string {
	parent := ""
	if len(x.s.Ancestry) > 0 {
		parent = cmp.Or(x.s.Ancestry[0].Path, x.s.Ancestry[0].Name)
	}
	return x.r.Key + "|=" + paths.Template(x.s.Process.Program()) + "|" + paths.Template(parent)
}

// begin is an alert about the entity of the score.
func (x *step) begin(by, first string) alertRow {
	s := x.s
	a := schemas.Alert{
		Provenance: schemas.Provenance{Tenant: s.Provenance.Tenant, Host: s.Provenance.Host, Time: x.r.Time, Coverage: x.r.Coverage},
		ID:         schemas.AlertID(s.Provenance.Tenant, by, s.Entity, s.WindowStart, first),
		Entity:     schemas.Entity{Type: s.EntityType, UID: s.Entity, Name: cmp.Or(s.Process.Name, paths.Base(s.Process.Path))}, Process: s.Process, Lineage: s.Ancestry,
		Object: s.Object, Hostname: s.Hostname,
	}
	if s.Entity == "" || s.EntityType == "host" {
		a.Entity = schemas.Entity{Type: "host", UID: x.r.Key, Name: cmp.Or(s.Hostname, s.Provenance.Host)}
	}
	return alertRow{Alert: a, Opened: x.now}
}

// fromCase is an alert from rarity.
func (x *step) fromCase(row *caseRow) (key string, a alertRow) {
	a = x.begin(name, row.Proofs.Causes[0])
	a.Members = row.Members
	a.evidence(row)
	a.Alert.Provenance.Causes, a.Alert.Inputs = row.Proofs.Causes, row.Proofs.Inputs
	return x.entityKey(name + "|" + x.s.Entity), a
}

// evidence takes over what a case has come to.
func (a *alertRow) evidence(row *caseRow) {
	a.Alert.FusedP, a.Alert.Confidence, a.Behind = row.P, 1-row.P, row.Behind
}

// open makes an alert: it is emitted, and kept as long as it takes evidence in. The ancestors of its process that were
// unusual just before belong to it, however little: they led to it.
func (x *step) open(key string, a alertRow) error {
	x.host.Budget.use(x.h.cfg, x.now)
	x.gather(key, &a)
	if x.s.Entity != "" && x.host.Open < maxOpen {
		x.host.Open++
		x.link(&a, key, x.entityKey(x.s.Entity), a.tree())
		if !a.Certain {
			x.link(&a, key, x.likeKey(), false)
		}
		x.h.alerts.Put(key, a)
		x.h.alertEnds.Update(x.c, key, x.now+keep.Nanoseconds(), (*mark).set)
	}
	return a.emit(x.c, &x.host, x.h.cfg, x.now)
}

// gather takes the open cases of ancestors in.
func (x *step) gather(key string, a *alertRow) {
	for i := range x.s.Ancestry {
		up := &x.s.Ancestry[i]
		row, ok := x.h.cases.Get(x.entityKey(up.UID))
		if !ok || x.h.links.Has(x.entityKey(up.UID)) {
			continue
		}
		a.relate(relatedRow{up.UID, paths.Cut(cmp.Or(up.Path, up.Name), maxWord), up.PID, row.P, row.Members[0].Title})
		p := a.proofs().with(row.Proofs.Causes, row.Proofs.Inputs...)
		a.Alert.Provenance.Causes, a.Alert.Inputs = p.Causes, p.Inputs
		x.link(a, key, x.entityKey(up.UID), false)
	}
}

func (a *alertRow) proofs() proofs { return proofs{a.Alert.Provenance.Causes, a.Alert.Inputs} }

// tree says whether the descendants of the alert's process belong to it: if its start was what is unusual about it. A
// service manager that touches something new is not to blame for what it starts.
func (a *alertRow) tree() bool {
	return a.Certain || slices.ContainsFunc(a.Members, func(m memberRow) bool { return m.Name != gated[2] && m.P < joinP })
}

// link notes that something belongs to an alert, unless it belongs to one already.
func (x *step) link(a *alertRow, alert, key string, tree bool) {
	if l, known := x.h.links.Get(key); known {
		if tree && !l.Tree {
			x.h.links.Put(key, linkRow{l.Alert, true})
		}
		return
	}
	if len(a.Links) >= maxLinks {
		return
	}
	a.Links = append(slices.Clip(a.Links), key)
	x.h.links.Put(key, linkRow{alert, tree})
}

// joinAlert adds the evidence of a case to an alert.
func (x *step) joinAlert(key string, a alertRow, row *caseRow) {
	if a.Alert.Entity.UID == x.s.Entity {
		ms := a.Members
		for _, m := range row.Members {
			ms, _ = joined(ms, m)
		}
		a.Members = ms
		if !a.Certain && row.P <= a.Alert.FusedP {
			a.evidence(row)
		}
	} else {
		a.relate(relatedRow{x.s.Entity, paths.Cut(cmp.Or(x.s.Process.Path, x.s.Process.Name), maxWord), x.s.Process.PID, row.P, row.Members[0].Title})
	}
	x.link(&a, key, x.entityKey(x.s.Entity), a.tree())
	x.amend(key, &a, row.Proofs)
}

// relate adds another process to an alert, or what is new about it.
func (a *alertRow) relate(next relatedRow) {
	i := slices.IndexFunc(a.Related, func(o relatedRow) bool { return o.UID == next.UID })
	switch {
	case i >= 0:
		a.Related = slices.Clone(a.Related)
		a.Related[i] = next
	case len(a.Related) < maxRelated:
		a.Related = append(slices.Clip(a.Related), next)
	default:
		a.More++
	}
}

// amend notes that an alert has changed. It is told by the next revision.
func (x *step) amend(key string, a *alertRow, p proofs) {
	v := a.proofs().with(p.Causes, p.Inputs...)
	a.Alert.Provenance.Causes, a.Alert.Inputs = v.Causes, v.Inputs
	a.Alert.Provenance.Time = max(a.Alert.Provenance.Time, x.r.Time)
	a.Alert.Provenance.Coverage = x.r.Coverage
	a.Changed = true
	x.h.alerts.Put(key, *a)
	x.h.revisions.Update(x.c, key, x.now, (*mark).set)
}

// revise emits the revision of an alert when the minute of its change is over.
func (h *handler) revise(c *streams.Context, key string) error {
	a, ok := h.alerts.Get(key)
	if !ok || !a.Changed {
		return nil
	}
	host, _ := h.hosts.Get(c.Key())
	host.Budget.turn(c.Watermark())
	if err := h.revision(c, &a, &host); err != nil {
		return err
	}
	h.alerts.Put(key, a)
	return nil
}

func (h *handler) revision(c *streams.Context, a *alertRow, host *hostRow) error {
	a.Changed = false
	a.Alert.Revision++
	return a.emit(c, host, h.cfg, c.Watermark())
}

// endAlert forgets an alert when it takes no more evidence in.
func (h *handler) endAlert(c *streams.Context, key string) error {
	a, ok := h.alerts.Get(key)
	if !ok || c.Watermark()-a.Opened < keep.Nanoseconds() { // a later one has its key
		return nil
	}
	host, _ := h.hosts.Get(c.Key())
	if err := h.end(c, key, &a, &host); err != nil {
		return err
	}
	h.hosts.Put(c.Key(), host)
	return nil
}

func (h *handler) end(c *streams.Context, key string, a *alertRow, host *hostRow) error {
	if a.Changed { // within this very minute
		if err := h.revision(c, a, host); err != nil {
			return err
		}
	}
	for _, l := range a.Links {
		h.links.Delete(l)
	}
	h.alerts.Delete(key)
	host.Open--
	return nil
}

// current is an alert that takes evidence in. One whose time is over is ended, if that has not come about yet.
func (x *step) current(key string) (a alertRow, ok bool, err error) {
	a, ok = x.h.alerts.Get(key)
	if ok && x.now-a.Opened >= keep.Nanoseconds() {
		return a, false, x.h.end(x.c, key, &a, &x.host)
	}
	return a, ok, nil
}

// emit writes the alert as it is now.
func (a *alertRow) emit(c *streams.Context, host *hostRow, cfg Config, now int64) error {
	host.Risk.add(cfg, now, 0)
	v := &a.Alert
	v.Risk = host.Risk.shown()
	if !a.Certain {
		v.SeverityID = max(v.SeverityID, severity(v.Risk))
	}
	v.Severity = schemas.Severities[min(max(v.SeverityID, 0), int32(len(schemas.Severities)-1))]
	v.HeldBack = host.Budget.Held
	v.Related = a.entities()
	v.Detectors, v.Features = weigh(a.Members), features(a.Members)
	if now-host.Rate.At < rateLife.Nanoseconds() {
		v.Features = append(v.Features, host.Rate.Feature...)
	}
	v.Title, v.Description = a.title(), a.describe(host, now)
	out := *v
	return c.Emit(schemas.AlertsTopic, &out)
}

// entities are the other processes that joined.
func (a *alertRow) entities() []schemas.Entity {
	var out []schemas.Entity
	for i := range a.Related {
		r := &a.Related[i]
		out = append(out, schemas.Entity{Type: "process", UID: r.UID, Name: paths.Base(r.Path)})
	}
	return out
}

const (
	certainP    = 1e-6 // what a certain member weighs as much as
	maxFeatures = 24
)

// weigh gives each member its share of the evidence, −log10 p.
func weigh(ms []memberRow) []schemas.Member {
	parts, sum := make([]float64, len(ms)), 0.0
	for i, m := range ms {
		parts[i] = -math.Log10(min(max(m.P, certainP), 0.999))
		sum += parts[i]
	}
	out := make([]schemas.Member, len(ms))
	left := 1.0
	for i, m := range ms {
		w := math.Round(1e4*parts[i]/sum) / 1e4
		if i == len(ms)-1 {
			w = math.Round(1e4*left) / 1e4
		}
		left -= w
		out[i] = schemas.Member{Name: m.Name, Version: m.Version, Score: m.Score, PValue: m.P, Weight: w}
	}
	return out
}

func features(ms []memberRow) []schemas.Feature {
	var out []schemas.Feature
	for _, m := range ms {
		out = append(out, m.Features...)
	}
	return out[:min(len(out), maxFeatures)]
}
