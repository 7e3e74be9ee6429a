package file

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/amoskys/amoskys/schemas"
)

// windows decodes the records of Windows event logs.
type windows struct {
	boot  string
	rec   winRecord
	hosts map[string]*winHost // by host as recorded, raw
	names map[string]*winHost // by host in lower case
	zone  zones
	skip  skipFunc
}

// scanned is how many Sysmon records the first pass reads for the clock of the shipper.
const scanned = 2000

// scan is the first pass. It finds the hosts with process starts of Sysmon, whose starts in the Security log are then left
// out so that no process is there twice, and by how much the shipper's clock is off in the beginning.
func (d *windows) scan(l *lines) error {
	clocks := 0
	for {
		line, err := l.next()
		var long longError
		switch {
		case err == io.EOF:
			return nil
		case errors.As(err, &long):
			continue // the second pass reports it
		case err != nil:
			return err
		}
		start := bytes.Contains(line, []byte(`"ParentImage"`)) // of all events only Sysmon's process start has it
		if !start && (clocks >= scanned || !bytes.Contains(line, []byte(`"UtcTime"`))) || d.rec.parse(line) != nil || d.rec.kind() != sysmonLog {
			continue
		}
		h := d.host()
		if start && d.rec.number() == 1 {
			h.sysmon = true
		}
		if clocks++; clocks <= scanned && !d.zone.knows(h.name) {
			_, _ = d.time(h) // learns
		}
	}
}

// decode makes an event of a line; nil when there is no mapping for it, or when Sysmon tells the same.
func (d *windows) decode(line []byte) (schemas.Event, error) {
	w := &d.rec
	if err := w.parse(line); err != nil {
		return nil, err
	}
	h := d.host()
	t, err := d.time(h)
	if err != nil {
		return nil, err
	}
	x := &winEvent{winRecord: w, host: h, time: t}
	kind, id := w.kind(), w.number()
	if kind == securityLog && h.sysmon && (id == 4688 || id == 4689) {
		d.pass(x, "covered by sysmon")
		return nil, nil
	}
	if m := mappingOf(kind, id); m != nil {
		if e := m(x); e != nil {
			return e, nil
		}
	}
	d.pass(x, "not mapped")
	return nil, nil
}

func mappingOf(kind winLog, id int64) mapping {
	switch kind {
	case sysmonLog:
		return sysmonEvents[id]
	case securityLog:
		return securityEvents[id]
	}
	return nil
}

// pass counts a record that gives no event.
func (d *windows) pass(x *winEvent, reason string) {
	env := x.envelope(0, 0)
	d.skip(&env, skip{reason, x.log(), text(x.id)})
}

func (d *windows) host() *winHost {
	h := d.hosts[string(d.rec.host)]
	if h == nil {
		if d.hosts == nil {
			d.hosts, d.names = map[string]*winHost{}, map[string]*winHost{}
		}
		name := text(d.rec.host)
		if h = d.names[strings.ToLower(name)]; h == nil {
			h = newWinHost(name, d.boot)
			d.names[h.name] = h
		}
		d.hosts[string(d.rec.host)] = h
	}
	return h
}

// number is the event id; -1 when it is no number.
func (w *winRecord) number() int64 {
	if len(w.id) == 0 || text(w.id) == "" {
		return -1
	}
	return number(w.id)
}

// delayed says whether Sysmon's own time of the event may be far from when it happened: network and DNS events come
// through a trace session whose time stamps, in some recordings, are off by days.
func delayed(id int64) bool { return id == 3 || id == 22 }

// time is when the event happened, as well as the record knows.
func (d *windows) time(h *winHost) (int64, error) {
	w := &d.rec
	shipper, ok := parseTime(w.local)
	if !ok {
		if shipper, ok = parseTime(w.created); !ok {
			shipper, ok = parseTime(w.received)
		}
	}
	if w.kind() == sysmonLog {
		if utc, has := parseTime(w.raw("UtcTime")); has {
			if !ok {
				return utc, nil
			}
			if !delayed(w.number()) {
				d.zone.learn(h.name, shipper, utc)
				return utc, nil
			}
			if off, known := d.zone.off(h.name); known && abs(shipper-off-utc) > int64(time.Hour) {
				return shipper - off, nil
			}
			return utc, nil
		}
	}
	if !ok {
		return 0, errors.New("event has no time that can be read")
	}
	off, known := d.zone.off(h.name)
	if !known && w.local != nil {
		if received, has := parseTime(w.received); has {
			off = quarters(shipper - received)
		}
	}
	return shipper - off, nil
}

func abs(n int64) int64 { return max(n, -n) }

// A mapping makes an event of a record; nil when the record is not of the kind after all.
type mapping func(*winEvent) schemas.Event

// winEvent is a record on its way to an event.
type winEvent struct {
	*winRecord
	host *winHost
	time int64
}

// The classes of OCSF 1.8 and, of each, the activities that are used here.
const (
	fileClass, fileCreate, fileRead, fileUpdate, fileDelete, fileSetAttributes = 1001, 1, 2, 3, 4, 6
	fileSetSecurity, fileGetAttributes, fileGetSecurity, fileOpen              = 7, 8, 9, 14
	moduleClass, moduleLoad                                                    = 1005, 1
	processClass, processLaunch, processTerminate, processOpen, processInject  = 1007, 1, 2, 3, 4
	networkClass, networkOpen, networkListen                                   = 4001, 1, 7
	dnsClass, dnsQuery                                                         = 4003, 1
	keyClass, keyCreate, keyRead, keyModify, keyDelete, keyRename              = 201001, 1, 2, 3, 4, 5
	valueClass, valueSet, valueModify, valueDelete                             = 201002, 2, 3, 4
	unknownActivity, otherActivity                                             = 0, 99
)

func (x *winEvent) envelope(class, activity int32) schemas.Envelope {
	return schemas.Envelope{Host: x.host.name, Hostname: x.host.hostname, Platform: "windows", Time: x.time, ClassUID: class, ActivityID: activity}
}

// begin starts the second pass: what the first one learned of the hosts stays, under the identity that it found.
func (d *windows) begin(boot string) {
	d.boot = boot
	for _, h := range d.hosts {
		h.boot = boot
	}
}
