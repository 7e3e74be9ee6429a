package cli

import (
	"fmt"
	"sync"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/prometheus/client_golang/prometheus"
)

// warmup is how far the hosts are from alerts on rarity, as their readiness records tell. It is also the metrics of that.
type warmup struct {
	starts int64 // process starts that an alert needs after the warm-up of rarity

	mu     sync.Mutex
	newest int64 // event time
	hosts  map[string]*schemas.Readiness
}

// firstDetector is the one whose units the alerts are calibrated by: process starts.
const (
	firstDetector = "rarity.executable"
	alertDetector = "ensemble" // what waits for the starts on top
	maxWarming    = 10_000     // hosts that are told of; further ones are not
)

func newWarmup(starts int64) *warmup {
	return &warmup{starts: starts, hosts: map[string]*schemas.Readiness{}}
}

func (w *warmup) saw(at int64) {
	w.mu.Lock()
	w.newest = max(w.newest, at)
	w.mu.Unlock()
}

func (w *warmup) take(r *schemas.Readiness) {
	key := r.Provenance.Tenant + "/" + r.Provenance.Host
	w.mu.Lock()
	defer w.mu.Unlock()
	w.newest = max(w.newest, r.Provenance.Time)
	if _, known := w.hosts[key]; known || len(w.hosts) < maxWarming {
		w.hosts[key] = r
	}
}

// left is what a detector lacks until it can speak: whichever is later.
type left struct {
	wait  time.Duration
	units int64
	unit  string
}

func (l left) any() bool { return l.wait > 0 || l.units > 0 }

// of is what each detector of a host lacks, and what an alert from them does.
func (w *warmup) of(r *schemas.Readiness) (names []string, lacks []left) {
	wait := max(0, time.Duration(r.ReadyFrom-w.newest))
	var alert left
	for i := range r.Detectors {
		d := &r.Detectors[i]
		l := left{unit: d.Unit}
		if d.EmitsFrom == 0 {
			l.wait, l.units = wait, max(0, d.UnitsNeeded-d.Units)
		}
		if d.Detector == firstDetector {
			from := d.EmitsFrom
			if from == 0 {
				from = max(d.UnitsNeeded, d.Units+1) // at the earliest
			}
			alert = left{l.wait, max(0, from+w.starts-1-d.Units), d.Unit}
		}
		names, lacks = append(names, d.Detector), append(lacks, l)
	}
	return append(names, alertDetector), append(lacks, alert)
}

// String says in a line what the host that is furthest from its first alert lacks.
func (w *warmup) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.hosts) == 0 {
		return "warm-up: not told yet (it is when the first clock minute of a host is over)"
	}
	var most left
	waiting := 0
	for _, r := range w.hosts {
		_, lacks := w.of(r)
		l := lacks[len(lacks)-1]
		if l.any() {
			waiting++
		}
		most.wait, most.units, most.unit = max(most.wait, l.wait), max(most.units, l.units), l.unit
	}
	if waiting == 0 {
		return "warm-up: done"
	}
	text := "warm-up: alerts on rarity need "
	if most.wait > 0 {
		text += most.wait.Round(time.Second).String() + " and "
	}
	text += fmt.Sprintf("at least %d more %s", most.units, most.unit)
	if len(w.hosts) > 1 {
		text += fmt.Sprintf(" (%d of %d hosts)", waiting, len(w.hosts))
	}
	return text + "; certain rules alert at once"
}

var (
	warmupHosts = prometheus.NewDesc("amoskys_warmup_hosts", "Hosts on which a detector cannot speak yet; ensemble: on which rarity cannot alert yet.", []string{"detector"}, nil)
	warmupUnits = prometheus.NewDesc("amoskys_warmup_left_units", "Units that the host which lacks most lacks at least.", []string{"detector"}, nil)
	warmupTime  = prometheus.NewDesc("amoskys_warmup_left_seconds", "Event time that the host which lacks most lacks.", []string{"detector"}, nil)
)

// Describe implements prometheus.Collector.
func (w *warmup) Describe(to chan<- *prometheus.Desc) {
	to <- warmupHosts
	to <- warmupUnits
	to <- warmupTime
}

// Collect implements prometheus.Collector.
func (w *warmup) Collect(to chan<- prometheus.Metric) {
	w.mu.Lock()
	defer w.mu.Unlock()
	hosts, most := map[string]int{}, map[string]left{}
	for _, r := range w.hosts {
		names, lacks := w.of(r)
		for i, name := range names {
			if lacks[i].any() {
				hosts[name]++
			}
			m := most[name]
			most[name] = left{wait: max(m.wait, lacks[i].wait), units: max(m.units, lacks[i].units)}
		}
	}
	for name, l := range most {
		for desc, v := range map[*prometheus.Desc]float64{warmupHosts: float64(hosts[name]), warmupUnits: float64(l.units), warmupTime: l.wait.Seconds()} {
			to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, name)
		}
	}
}
