package registry

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
)

// contentType is that of every answer, as clients of the Confluent Schema Registry expect it.
const contentType = "application/vnd.schemaregistry.v1+json"

// The error codes of the Confluent Schema Registry.
const (
	codeSubject      = 40401
	codeVersion      = 40402
	codeSchema       = 40403
	codeIncompatible = 409
	codeInvalid      = 42201
	codeBadVersion   = 42202
	codeBadLevel     = 42203
	codeStore        = 50001
)

var levels = []string{"NONE", "BACKWARD", "BACKWARD_TRANSITIVE", "FORWARD", "FORWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE"}

// failure is an error with a code of the interface.
type failure struct {
	code int
	text string
}

func (f failure) Error() string { return f.text }

func (s *Server) routes() {
	s.mux = http.NewServeMux()
	for pattern, f := range map[string]func(*http.Request) (any, error){
		"GET /{$}":                                   func(*http.Request) (any, error) { return struct{}{}, nil },
		"GET /subjects":                              s.listSubjects,
		"GET /subjects/{subject}/versions":           s.listVersions,
		"POST /subjects/{subject}/versions":          s.postVersion,
		"GET /subjects/{subject}/versions/{version}": s.getVersion,
		"POST /subjects/{subject}":                   s.lookUp,
		"GET /schemas/types":                         func(*http.Request) (any, error) { return []string{"AVRO"}, nil },
		"GET /schemas/ids/{id}":                      s.getSchema,
		"GET /schemas/ids/{id}/versions":             s.idVersions,
		"GET /config":                                s.getConfig,
		"PUT /config":                                s.putConfig,
		"GET /config/{subject}":                      s.getConfig,
		"PUT /config/{subject}":                      s.putConfig,
		"GET /mode":                                  func(*http.Request) (any, error) { return map[string]string{"mode": "READWRITE"}, nil },
		"POST /compatibility/subjects/{subject}/versions/{v}": s.checkCompatible,
		"POST /compatibility/subjects/{subject}/versions":     s.checkCompatible,
	} {
		s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { answer(w, r, f) })
	}
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

func answer(w http.ResponseWriter, r *http.Request, f func(*http.Request) (any, error)) {
	w.Header().Set("Content-Type", contentType)
	v, err := f(r)
	var fail failure
	switch {
	case err == nil:
	case errors.As(err, &fail):
	case errors.Is(err, ErrIncompatible):
		fail = failure{codeIncompatible, err.Error()}
	default:
		fail = failure{codeStore, err.Error()}
	}
	if err != nil {
		status := fail.code
		for status > 999 {
			status /= 10
		}
		w.WriteHeader(status)
		v = map[string]any{"error_code": fail.code, "message": fail.text}
	}
	_ = json.NewEncoder(w).Encode(v) // a client that has gone away is no error of ours
}

type schemaBody struct {
	Schema     string            `json:"schema"`
	SchemaType string            `json:"schemaType"`
	References []json.RawMessage `json:"references"`
}

// body reads a request's schema, bounded.
func body(r *http.Request) (text string, err error) {
	b, err := io.ReadAll(io.LimitReader(r.Body, 2*maxSchema+1))
	if err != nil {
		return "", err
	}
	var x schemaBody
	switch err := json.Unmarshal(b, &x); {
	case len(b) > 2*maxSchema:
		return "", failure{codeInvalid, "request body is too large"}
	case err != nil:
		return "", failure{codeInvalid, "request body is no JSON: " + err.Error()}
	case x.SchemaType != "" && x.SchemaType != "AVRO":
		return "", failure{codeInvalid, "schema type " + x.SchemaType + " is not supported; supported: AVRO"}
	case len(x.References) > 0:
		return "", failure{codeInvalid, "references are not supported: send a self-contained schema"}
	}
	return x.Schema, nil
}

func (s *Server) listSubjects(*http.Request) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.state.subjects)), nil
}

// versions returns the versions of a request's subject.
func (s *Server) versions(r *http.Request) ([]*version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if vs := s.state.subjects[r.PathValue("subject")]; len(vs) > 0 {
		return vs, nil
	}
	return nil, failure{codeSubject, "Subject '" + r.PathValue("subject") + "' not found."}
}

func (s *Server) listVersions(r *http.Request) (any, error) {
	vs, err := s.versions(r)
	if err != nil {
		return nil, err
	}
	ns := make([]int, len(vs))
	for i := range vs {
		ns[i] = i + 1
	}
	return ns, nil
}

func (s *Server) postVersion(r *http.Request) (any, error) {
	text, err := body(r)
	if err != nil {
		return nil, err
	}
	if _, _, err := normal(text); err != nil {
		return nil, failure{codeInvalid, err.Error()}
	}
	id, err := s.Register(r.Context(), r.PathValue("subject"), text)
	return map[string]int32{"id": id}, err
}

func (s *Server) getVersion(r *http.Request) (any, error) {
	vs, err := s.versions(r)
	if err != nil {
		return nil, err
	}
	n := len(vs)
	if t := r.PathValue("version"); t != "latest" && t != "-1" {
		if n, err = strconv.Atoi(t); err != nil || n < 1 {
			return nil, failure{codeBadVersion, "The specified version '" + t + "' is not a valid version id."}
		}
	}
	if n > len(vs) {
		return nil, failure{codeVersion, "Version " + strconv.Itoa(n) + " not found."}
	}
	return describe(vs[n-1]), nil
}

func describe(v *version) map[string]any {
	return map[string]any{"subject": v.Subject, "version": v.Version, "id": v.ID, "schema": v.Schema}
}

func (s *Server) lookUp(r *http.Request) (any, error) {
	if _, err := s.versions(r); err != nil {
		return nil, err
	}
	text, err := body(r)
	if err != nil {
		return nil, err
	}
	if text, _, err = normal(text); err != nil {
		return nil, failure{codeInvalid, err.Error()}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.state.find(r.PathValue("subject"), text); v != nil {
		return describe(v), nil
	}
	return nil, failure{codeSchema, "Schema not found"}
}

func (s *Server) byID(r *http.Request) (*version, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 32)
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.state.byID[int32(id)]; err == nil && v != nil {
		return v, nil
	}
	return nil, failure{codeSchema, "Schema " + r.PathValue("id") + " not found"}
}

func (s *Server) getSchema(r *http.Request) (any, error) {
	v, err := s.byID(r)
	if err != nil {
		return nil, err
	}
	return map[string]string{"schema": v.Schema}, nil
}

func (s *Server) idVersions(r *http.Request) (any, error) {
	v, err := s.byID(r)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []map[string]any{}
	for _, subject := range slices.Sorted(maps.Keys(s.state.subjects)) {
		for _, x := range s.state.subjects[subject] {
			if x.ID == v.ID {
				out = append(out, map[string]any{"subject": subject, "version": x.Version})
			}
		}
	}
	return out, nil
}

func (s *Server) getConfig(r *http.Request) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return map[string]string{"compatibilityLevel": s.state.level(r.PathValue("subject"))}, nil
}

func (s *Server) putConfig(r *http.Request) (any, error) {
	var x struct {
		Level string `json:"compatibility"`
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, 4096)).Decode(&x); err != nil || !slices.Contains(levels, x.Level) {
		return nil, failure{codeBadLevel, "Invalid compatibility level. Valid values are none, backward, forward, full, and their _transitive forms."}
	}
	key := recordKey{Type: "CONFIG", Subject: r.PathValue("subject")}
	return x, s.append(r.Context(), key, map[string]string{"compatibilityLevel": x.Level})
}

func (s *Server) checkCompatible(r *http.Request) (any, error) {
	text, err := body(r)
	if err != nil {
		return nil, err
	}
	_, parsed, err := normal(text)
	if err != nil {
		return nil, failure{codeInvalid, err.Error()}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err = s.state.compatible(r.PathValue("subject"), parsed)
	out := map[string]any{"is_compatible": err == nil}
	if err != nil && r.URL.Query().Get("verbose") == "true" {
		out["messages"] = []string{err.Error()}
	}
	return out, nil
}
