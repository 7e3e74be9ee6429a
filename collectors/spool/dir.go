package spool

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams/durable"
)

// The files of a spool directory besides the folders of its logs.
const (
	lockName        = "lock"        // locked while a process has the spool open
	openName        = "open"        // there while it is open, and after a process that did not close it
	incarnationName = "incarnation" // name of the sequence spaces, and the boot in which it was used last
	schemasName     = "schemas"     // folder of the schemas that records were written with: NAME@MARK.avsc
)

// incarnation returns the name of this directory's sequence spaces. A new one is made with the directory, and whenever the
// last numbers that were given may not be known any more: after a torn tail, and when the machine went down while the spool
// was open, which may have taken whole records that were shipped. Kills lose nothing: the system has what was written.
func incarnation(dir, boot string, torn bool) (string, error) {
	path := filepath.Join(dir, incarnationName)
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	name, last, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	_, err = os.Stat(filepath.Join(dir, openName))
	crashed := err == nil && last != boot
	if len(name) < 8 || torn || crashed {
		b := make([]byte, 4)
		if _, err := rand.Read(b); err != nil {
			return "", err
		}
		name = hex.EncodeToString(b)
	}
	return name, errors.Join(durable.WriteFile(path, []byte(name+" "+boot), 0o600), durable.WriteFile(filepath.Join(dir, openName), []byte(boot), 0o600))
}

// schemaMark tells versions of a schema apart: the first 4 bytes, in hex, of the SHA-256 of its text.
func schemaMark(text string) string {
	h := sha256.Sum256([]byte(text))
	return hex.EncodeToString(h[:4])
}

// keepSchema makes sure that the text of a schema is in the directory, and returns how it is named in records.
func keepSchema(dir string, s *schemas.Schema) (string, error) {
	name := s.Name + "@" + schemaMark(s.Text)
	path := filepath.Join(dir, schemasName, name+".avsc")
	if _, err := os.Stat(path); err == nil || !errors.Is(err, os.ErrNotExist) {
		return name, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	return name, durable.WriteFile(path, []byte(s.Text), 0o600)
}

// schemaReader brings records to the present schemas.
type schemaReader struct {
	dir     string
	current map[string]string // names with the marks of the present schemas, and without
}

// read brings a record that was written by another version of the program to the present schema, and takes the mark off
// its name.
func (x *schemaReader) read(r *Record) error {
	if name, ok := x.current[r.Schema]; ok {
		r.Schema = name
		return nil
	}
	name, mark := splitSchema(r.Schema)
	s, ok := schemas.Lookup(name)
	if !ok {
		return fmt.Errorf("schema %s is not known", name)
	}
	if mark == schemaMark(s.Text) {
		if x.current == nil {
			x.current = map[string]string{}
		}
		x.current[r.Schema] = name
		r.Schema = name
		return nil
	}
	text, err := os.ReadFile(filepath.Join(x.dir, schemasName, name+"@"+mark+".avsc"))
	if err != nil {
		return fmt.Errorf("read schema of record: %w", err)
	}
	r.Schema = name
	r.Body, err = s.Upgrade(string(text), r.Body)
	return err
}
