package file

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/amoskys/amoskys/schemas"
)

// own decodes events in our own form, one JSON object a line: the fields of the event by their names in the schema, and
// beside them "type", the name of the schema. A line may also hold the event as its member "value", with "type" or
// "schema" beside it and whatever else; that is how the records of a topic are printed.
type own struct{ skip skipFunc }

var errNoType = errors.New(`line has no "type" that says what it is`)

func (d *own) decode(line []byte) (schemas.Event, error) {
	var name string
	body := line
	m := objectOf(line)
	for m.next() {
		switch string(m.key) {
		case "type", "schema":
			name = text(m.value)
		case "value":
			body = m.value
		}
	}
	if err := m.end(); err != nil {
		return nil, err
	}
	if name == "" {
		return nil, errNoType
	}
	v := schemas.New(name)
	if v == nil {
		return nil, fmt.Errorf("type %q is not a schema", name)
	}
	e, ok := v.(schemas.Event)
	if !ok { // ticks, derived records: what a topic has besides events
		d.skip(nil, skip{"not an event", Amoskys, name})
		return nil, nil
	}
	if err := json.Unmarshal(body, e); err != nil {
		return nil, fmt.Errorf("decode %s: %w", name, err)
	}
	switch env := e.Env(); {
	case env.Host == "":
		return nil, fmt.Errorf("%s names no host", name)
	case env.Time <= 0:
		return nil, fmt.Errorf("%s has no time", name)
	}
	return e, nil
}
