package schemas

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/twmb/avro"
)

// ErrUnknownSchema is returned for a schema id that the registry does not have. The record can never be decoded: it is
// dead-lettered. Any other error of a registry is a matter of time, and is tried again.
var ErrUnknownSchema = errors.New("schema id is not registered")

// ErrNotFramed is returned for a value that does not begin with the Confluent magic byte and a schema id.
var ErrNotFramed = errors.New("value has no schema id (Confluent wire format)")

// A Registry gives schemas their ids. It is safe for concurrent use.
type Registry interface {
	// Register makes sure that the schema is a version of the subject and returns its id, the same one every time. An
	// incompatible schema is an error.
	Register(ctx context.Context, subject, text string) (int32, error)
	// Schema returns the text of a registered schema; ErrUnknownSchema when there is none.
	Schema(ctx context.Context, id int32) (string, error)
}

// ErrRegistryUnavailable is returned when the registry could not be asked. The record may be fine: it is tried again.
var ErrRegistryUnavailable = errors.New("schema registry is not available")

// headerLen is the length of the Confluent header: magic byte 0 and a big-endian schema id.
const headerLen = 5

// A Serde encodes and decodes payloads and state rows in the Confluent wire format. It is safe for concurrent use.
type Serde struct {
	reg    Registry
	mu     sync.Mutex
	own    map[string]*bound // by schema name
	writer sync.Map          // schema id -> *decoder
}

type bound struct {
	schema *Schema
	id     int32
}

// decoder reads what was written with one schema id into our own version of the schema.
type decoder struct {
	name     string
	resolved *avro.Schema
}

// NewSerde registers all schemas of the vocabulary, and the given state schemas, and returns a codec over their ids.
func NewSerde(ctx context.Context, reg Registry, state ...*Schema) (*Serde, error) {
	s := &Serde{reg: reg, own: map[string]*bound{}}
	for _, n := range Names() {
		if err := s.Bind(ctx, all()[n]); err != nil {
			return nil, err
		}
	}
	for _, x := range state {
		if err := s.Bind(ctx, x); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Bind registers one more schema. Binding the same name again is cheap and changes nothing.
func (s *Serde) Bind(ctx context.Context, x *Schema) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.own[x.Name]; ok {
		return nil
	}
	id, err := s.reg.Register(ctx, x.Subject(), x.Text)
	if err != nil {
		return fmt.Errorf("register schema %s: %w", x.Name, err)
	}
	s.own[x.Name] = &bound{x, id}
	s.writer.Store(id, &decoder{x.Name, x.avro})
	return nil
}

// ID is the schema id of a bound schema by name; 0 when it is not bound.
func (s *Serde) ID(name string) int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.own[name]; b != nil {
		return b.id
	}
	return 0
}

// An Encoder encodes one schema. It holds no lock and is safe for concurrent use.
type Encoder struct{ b *bound }

// Encoder returns the encoder of a bound schema.
func (s *Serde) Encoder(name string) (Encoder, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.own[name]
	if b == nil {
		return Encoder{}, fmt.Errorf("schema %s is not bound", name)
	}
	return Encoder{b}, nil
}

// Append appends v, a pointer to a value of the encoder's schema, with its header.
func (e Encoder) Append(dst []byte, v any) ([]byte, error) {
	dst = binary.BigEndian.AppendUint32(append(dst, 0), uint32(e.b.id))
	dst, err := e.b.schema.avro.AppendEncode(dst, v)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", e.b.schema.Name, err)
	}
	return dst, nil
}

// Frame returns an Avro body of the encoder's schema with its header.
func (e Encoder) Frame(body []byte) []byte {
	b := binary.BigEndian.AppendUint32(append(make([]byte, 0, headerLen+len(body)), 0), uint32(e.b.id))
	return append(b, body...)
}

// AppendBody appends v, a pointer to a value of the schema, as an Avro body without a header: for places that are no
// topics, such as a spool.
func (s *Schema) AppendBody(dst []byte, v any) ([]byte, error) {
	dst, err := s.avro.AppendEncode(dst, v)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", s.Name, err)
	}
	return dst, nil
}

// DecodeBody decodes an Avro body that was written with this very schema into v.
func (s *Schema) DecodeBody(body []byte, v any) error {
	return (&decoder{s.Name, s.avro}).into(body, v)
}

// Upgrade rewrites an Avro body that was written with another version of the schema, whose text is given, as this one.
func (s *Schema) Upgrade(writer string, body []byte) ([]byte, error) {
	w, err := avro.Parse(writer)
	if err != nil {
		return nil, fmt.Errorf("parse schema of %s: %w", s.Name, err)
	}
	r, err := avro.Resolve(w, s.avro)
	if err != nil {
		return nil, fmt.Errorf("resolve schema of %s: %w", s.Name, err)
	}
	v := New(s.Name)
	if v == nil {
		return nil, fmt.Errorf("upgrade %s: not a payload", s.Name)
	}
	if err := (&decoder{s.Name, r}).into(body, v); err != nil {
		return nil, err
	}
	return s.AppendBody(nil, v)
}

// Append appends a payload with its header.
func (s *Serde) Append(dst []byte, v Payload) ([]byte, error) {
	e, err := s.Encoder(v.SchemaName())
	if err != nil {
		return nil, err
	}
	return e.Append(dst, v)
}

// Name peeks at the name of the schema that a value was written with, without decoding it.
func (s *Serde) Name(ctx context.Context, value []byte) (string, error) {
	d, _, err := s.decoder(ctx, value)
	if err != nil {
		return "", err
	}
	return d.name, nil
}

// Decode decodes a value into a fresh payload.
func (s *Serde) Decode(ctx context.Context, value []byte) (Payload, error) {
	d, body, err := s.decoder(ctx, value)
	if err != nil {
		return nil, err
	}
	v := New(d.name)
	if v == nil {
		return nil, fmt.Errorf("decode %s: not a payload", d.name)
	}
	return v, d.into(body, v)
}

// DecodeInto decodes a state row into v, a pointer to the struct its schema was inferred from.
func (s *Serde) DecodeInto(ctx context.Context, value []byte, name string, v any) error {
	d, body, err := s.decoder(ctx, value)
	if err != nil {
		return err
	}
	if d.name != name {
		return fmt.Errorf("decode %s: value is a %s", name, d.name)
	}
	return d.into(body, v)
}

func (d *decoder) into(body []byte, v any) error {
	rest, err := d.resolved.Decode(body, v)
	if err != nil {
		return fmt.Errorf("decode %s: %w", d.name, err)
	}
	if len(rest) > 0 {
		return fmt.Errorf("decode %s: %d bytes left over", d.name, len(rest))
	}
	return nil
}

// decoder finds how to read a value, asking the registry once for each id it has not seen.
func (s *Serde) decoder(ctx context.Context, value []byte) (*decoder, []byte, error) {
	if len(value) < headerLen || value[0] != 0 {
		return nil, nil, ErrNotFramed
	}
	id := schemaID(value)
	if d, ok := s.writer.Load(id); ok {
		return d.(*decoder), value[headerLen:], nil
	}
	text, err := s.reg.Schema(ctx, id)
	switch {
	case errors.Is(err, ErrUnknownSchema):
		return nil, nil, fmt.Errorf("look up schema %d: %w", id, err)
	case err != nil:
		return nil, nil, fmt.Errorf("look up schema %d: %w: %w", id, ErrRegistryUnavailable, err)
	}
	w, err := avro.Parse(text)
	if err != nil {
		return nil, nil, fmt.Errorf("parse schema %d: %w", id, err)
	}
	name := avroName(w)
	s.mu.Lock()
	b := s.own[name]
	s.mu.Unlock()
	if b == nil {
		return nil, nil, fmt.Errorf("schema %d is a %s: %w", id, name, ErrUnknownSchema)
	}
	r, err := avro.Resolve(w, b.schema.avro)
	if err != nil {
		return nil, nil, fmt.Errorf("resolve schema %d of %s: %w", id, name, err)
	}
	d := &decoder{name, r}
	s.writer.Store(id, d)
	return d, value[headerLen:], nil
}

// avroName is the full name of a record schema without our namespace.
func avroName(s *avro.Schema) string {
	r := s.Root()
	name := r.Name
	if r.Namespace != "" {
		name = r.Namespace + "." + name
	}
	if n, ok := cutNamespace(name); ok {
		return n
	}
	return name
}

func cutNamespace(name string) (string, bool) {
	if len(name) > len(Namespace) && name[:len(Namespace)+1] == Namespace+"." {
		return name[len(Namespace)+1:], true
	}
	return name, false
}

// A Decoder decodes into one reused value per schema: what it returns is valid until the next value of the same schema
// is decoded. It belongs to one goroutine, and remembers by itself which schemas it has met.
type Decoder struct {
	s     *Serde
	known map[int32]*decoder
	last  map[string]Payload
}

// NewDecoder returns a decoder with values of its own.
func (s *Serde) NewDecoder() *Decoder { return &Decoder{s, map[int32]*decoder{}, map[string]Payload{}} }

// Name peeks at the name of the schema that a value was written with, without decoding it.
func (d *Decoder) Name(ctx context.Context, value []byte) (string, error) {
	x, _, err := d.decoder(ctx, value)
	if err != nil {
		return "", err
	}
	return x.name, nil
}

// Decode decodes a value into the reused payload of its schema.
func (d *Decoder) Decode(ctx context.Context, value []byte) (Payload, error) {
	x, body, err := d.decoder(ctx, value)
	if err != nil {
		return nil, err
	}
	v := d.last[x.name]
	if v == nil {
		if v = New(x.name); v == nil {
			return nil, fmt.Errorf("decode %s: not a payload", x.name)
		}
		d.last[x.name] = v
	}
	return v, x.into(body, v)
}

func (d *Decoder) decoder(ctx context.Context, value []byte) (*decoder, []byte, error) {
	if len(value) >= headerLen && value[0] == 0 {
		if x := d.known[schemaID(value)]; x != nil {
			return x, value[headerLen:], nil
		}
	}
	x, body, err := d.s.decoder(ctx, value)
	if err == nil {
		d.known[schemaID(value)] = x
	}
	return x, body, err
}

// schemaID reads the id in the header of a value, which must have one.
func schemaID(value []byte) int32 { return int32(binary.BigEndian.Uint32(value[1:headerLen])) }

// A LocalRegistry gives ids in the order of registration and keeps them in memory: for tests, scenarios and tools that
// have no broker. The zero value is ready to use.
type LocalRegistry struct {
	mu   sync.Mutex
	ids  map[string]int32
	text []string
}

// Register implements Registry.
func (r *LocalRegistry) Register(_ context.Context, subject, text string) (int32, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := subject + "\x00" + text
	if id, ok := r.ids[k]; ok {
		return id, nil
	}
	if r.ids == nil {
		r.ids = map[string]int32{}
	}
	r.text = append(r.text, text)
	id := int32(len(r.text))
	r.ids[k] = id
	return id, nil
}

// Schema implements Registry.
func (r *LocalRegistry) Schema(_ context.Context, id int32) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if id < 1 || int(id) > len(r.text) {
		return "", ErrUnknownSchema
	}
	return r.text[id-1], nil
}
