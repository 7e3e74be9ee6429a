package file

import "time"

// parseTime reads the forms of a time that event logs use: 2006-01-02 15:04:05, with T instead of the blank, with a
// fraction of up to nine digits, with Z or an offset; without a zone it is UTC. The result is in nanoseconds since 1970.
func parseTime(raw []byte) (ns int64, ok bool) {
	b := raw
	if len(b) >= 2 && b[0] == '"' {
		b = b[1 : len(b)-1]
	}
	if len(b) < 19 || b[4] != '-' || b[7] != '-' || b[10] != ' ' && b[10] != 'T' || b[13] != ':' || b[16] != ':' {
		return 0, false
	}
	var p [6]int
	for i, at := range [6][2]int{{0, 4}, {5, 7}, {8, 10}, {11, 13}, {14, 16}, {17, 19}} {
		for _, c := range b[at[0]:at[1]] {
			if c < '0' || c > '9' {
				return 0, false
			}
			p[i] = p[i]*10 + int(c-'0')
		}
	}
	if p[0] < 1970 || p[0] > 2200 || p[1] < 1 || p[1] > 12 || p[2] < 1 || p[2] > 31 || p[3] > 23 || p[4] > 59 || p[5] > 60 {
		return 0, false
	}
	b = b[19:]
	frac, unit := 0, int(1e9)
	if len(b) > 1 && (b[0] == '.' || b[0] == ',') {
		for b = b[1:]; len(b) > 0 && b[0] >= '0' && b[0] <= '9'; b = b[1:] {
			if unit > 1 {
				unit /= 10
				frac += int(b[0]-'0') * unit
			}
		}
	}
	zone, ok := parseZone(b)
	if !ok {
		return 0, false
	}
	return time.Date(p[0], time.Month(p[1]), p[2], p[3], p[4], p[5], frac, time.UTC).UnixNano() - zone, true
}

// parseZone reads nothing, Z, +hh:mm or +hhmm, in nanoseconds east of UTC.
func parseZone(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) == 1 && b[0] == 'Z' {
		return 0, true
	}
	t, err := time.Parse("-07:00", string(b))
	if err != nil {
		if t, err = time.Parse("-0700", string(b)); err != nil {
			return 0, false
		}
	}
	_, east := t.Zone()
	return int64(east) * 1e9, true
}

const quarterHour = int64(15 * time.Minute)

// quarters rounds a difference of two clocks to whole quarters of an hour: the difference of two time zones.
func quarters(ns int64) int64 {
	q := ns / quarterHour
	switch r := ns % quarterHour; {
	case r >= quarterHour/2:
		q++
	case r <= -quarterHour/2:
		q--
	}
	return q * quarterHour
}

// zones corrects the times of a recording whose shipper did not know its time zone.
//
// Of the recordings of OTRF Security-Datasets about half give local time with a Z behind it as TimeCreated, off by 4 to 19
// hours (12-hour clocks without am and pm are among them), and nxlog gives local time without a zone. Sysmon writes the
// true UTC into each event besides, so every Sysmon record says by how much the shipper's clock is off just then, and the
// next records of the same host that have only the shipper's time are moved by as much. Without that, logon events would
// lie hours away from the processes they belong to.
type zones struct {
	host map[string]int64 // shipper's clock minus UTC, as last seen
	last int64            // of any host
	seen bool
}

// learn takes in a Sysmon record that has both times.
func (z *zones) learn(host string, shipper, utc int64) {
	if z.host == nil {
		z.host = map[string]int64{}
	}
	z.last, z.seen = quarters(shipper-utc), true
	z.host[host] = z.last
}

// knows says whether a record of the host was learned from.
func (z *zones) knows(host string) bool { _, ok := z.host[host]; return ok }

// off is by how much the shipper's clock is ahead of UTC.
func (z *zones) off(host string) (int64, bool) {
	if off, ok := z.host[host]; ok {
		return off, true
	}
	return z.last, z.seen
}
