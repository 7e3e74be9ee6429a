package file

import (
	"bytes"
	"errors"
)

// winRecord is one record of a Windows event log, in whichever of these forms it was written:
//
//   - flat, as nxlog and the OTRF scripts write it: {"Channel", "EventID", "Hostname", …, and the event's own fields};
//   - winlogbeat 6: {"log_name", "event_id", "computer_name", "event_data": {…}};
//   - winlogbeat 7 and 8: {"winlog": {"channel", "event_id", "computer_name", "event_data": {…}}};
//   - the XML of the log as JSON (evtx_dump): {"Event": {"System": {…}, "EventData": {…}}}.
//
// Everything in it points into the line.
type winRecord struct {
	channel, id, host []byte // raw
	provider          []byte // raw; the channel is sometimes left out
	message           []byte // raw: the text in which some shippers leave the only copy of a field
	created           []byte // raw time that the log service gave: UTC, or what the shipper took for it
	local             []byte // raw time in an unnamed zone (nxlog's EventTime)
	received          []byte // raw time that the shipper gave
	data              []field
	flat              bool // the event's own fields and those of the shipper share one space of names
}

type field struct{ key, value []byte }

var errNoEvent = errors.New("no event of a Windows log: neither EventID nor event_id in it")

// parse reads a line. The record may be used again for the next one.
func (w *winRecord) parse(line []byte) error {
	*w = winRecord{data: w.data[:0]}
	m := objectOf(line)
	for m.next() {
		w.top(m.key, m.value)
	}
	if err := m.end(); err != nil {
		return err
	}
	if w.id == nil {
		return errNoEvent
	}
	if len(w.host) < 3 { // the quotes and something in them
		return errors.New("event names no host")
	}
	return nil
}

// top sorts in one member of the whole, or of winlogbeat's part.
func (w *winRecord) top(key, value []byte) {
	switch string(key) {
	case "EventID":
		w.id, w.flat = eventID(value), true
	case "event_id":
		w.id = eventID(value)
	case "Channel", "log_name", "channel":
		w.channel = value
	case "Hostname", "computer_name", "Computer":
		w.host = value
	case "SourceName", "source_name", "provider_name":
		w.provider = value
	case "Message", "message":
		w.message = value
	case "TimeCreated":
		w.created = value
	case "EventTime":
		w.local = value
	case "@timestamp":
		w.received = value
	case "event_data", "EventData":
		w.members(value, w.own)
		return
	case "winlog":
		w.members(value, w.top)
		return
	case "Event":
		w.members(value, w.xml)
		return
	}
	w.data = append(w.data, field{key, value})
}

// xml sorts in one member of an event that was XML.
func (w *winRecord) xml(key, value []byte) {
	switch string(key) {
	case "System":
		w.members(value, w.system)
	case "EventData", "UserData":
		w.members(value, w.own)
	}
}

func (w *winRecord) system(key, value []byte) {
	switch string(key) {
	case "EventID":
		w.id = eventID(value)
	case "Channel":
		w.channel = value
	case "Computer":
		w.host = value
	case "Provider":
		w.provider = attribute(value, "Name")
	case "TimeCreated":
		w.created = attribute(value, "SystemTime")
	}
}

// own adds one field of the event itself.
func (w *winRecord) own(key, value []byte) { w.data = append(w.data, field{key, value}) }

// members calls f with each member of a nested object; its structure was checked when it was passed over as a value.
func (w *winRecord) members(value []byte, f func(key, value []byte)) {
	m := objectOf(value)
	for m.next() {
		f(m.key, m.value)
	}
}

// eventID is the number itself, or what an XML converter makes of an element with attributes.
func eventID(value []byte) []byte {
	if len(value) == 0 || value[0] != '{' {
		return value
	}
	for m := objectOf(value); m.next(); {
		if k := string(m.key); k == "#text" || k == "Value" || k == "value" {
			return m.value
		}
	}
	return nil
}

// attribute is an attribute of an XML element: a member, or one of #attributes.
func attribute(value []byte, name string) []byte {
	for m := objectOf(value); m.next(); {
		switch string(m.key) {
		case name, "@" + name:
			return m.value
		case "#attributes":
			return attribute(m.value, name)
		}
	}
	return nil
}

// raw is the raw value of the first of the names that the event has.
func (w *winRecord) raw(names ...string) []byte {
	for _, n := range names {
		for i := range w.data {
			if string(w.data[i].key) == n {
				return w.data[i].value
			}
		}
	}
	return nil
}

// str is the text of the first of the names that the event has. The log writes a dash where it has nothing.
func (w *winRecord) str(names ...string) string {
	s := text(w.raw(names...))
	if s == "-" {
		return ""
	}
	return s
}

func (w *winRecord) num(names ...string) int64 { return number(w.raw(names...)) }

// pid is the id of the acting process. In nxlog's records ProcessID, as a number, is the logging service, and may have
// displaced the event's own ProcessId; what is left then is the message.
func (w *winRecord) pid() int64 {
	if v := w.raw("ProcessId"); v != nil {
		return number(v)
	}
	if v := w.raw("ProcessID"); v != nil && (!w.flat || v[0] == '"') {
		return number(v)
	}
	for _, label := range [...]string{"ProcessId:", "Process ID:"} {
		if v := w.said(label); v != nil {
			return number(v)
		}
	}
	return 0
}

// said finds a field in the message, where it stands as "label value" on a line of its own; raw, and nil when it is not
// there.
func (w *winRecord) said(label string) []byte {
	_, rest, ok := bytes.Cut(w.message, []byte(label))
	if !ok {
		return nil
	}
	for len(rest) > 1 && (rest[0] == ' ' || rest[0] == '\\' && rest[1] == 't') {
		if rest[0] == '\\' {
			rest = rest[1:]
		}
		rest = rest[1:]
	}
	end := bytes.IndexAny(rest, `\"`)
	if end <= 0 {
		return nil
	}
	return bytes.TrimRight(rest[:end], " ")
}

// log names the log that the record is from, in the way it is counted: the channel, or the provider without one.
func (w *winRecord) log() string {
	if w.kind() == securityLog {
		return "Security" // some shippers write it in lower case
	}
	s := text(w.channel)
	if s == "" {
		s = text(w.provider)
	}
	return s
}

type winLog int

const (
	otherLog winLog = iota
	sysmonLog
	securityLog
)

// kind says which table of mappings the record belongs to.
func (w *winRecord) kind() winLog {
	c := w.channel
	if len(c) == 0 {
		c = w.provider
	}
	switch {
	case bytes.Contains(c, []byte("Sysmon")):
		return sysmonLog
	case len(c) == len(`"Security"`) && bytes.EqualFold(c, []byte(`"Security"`)), bytes.Contains(c, []byte("Security-Auditing")):
		return securityLog
	}
	return otherLog
}
