package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/gowebpki/jcs"
)

// NewRecord makes the record of something that the user of this process did: action and object as in the schema, outcome
// success or failure, version and configuration hash of the program. detail is anything that encoding/json can write, nil
// for nothing; it is kept as canonical JSON, in which numbers are doubles (RFC 8785): give larger integers as texts. The
// id is the first 16 bytes, in hex, of SHA-256 over the rest of the record.
func NewRecord(action, object, outcome, version, configHash string, detail any, at time.Time) (*schemas.AuditRecord, error) {
	r := &schemas.AuditRecord{Time: at.UnixNano(), Actor: actor(), Action: action, Object: object, Outcome: outcome, Version: version, ConfigHash: configHash}
	if detail != nil {
		text, err := json.Marshal(detail)
		if err == nil {
			text, err = jcs.Transform(text)
		}
		if err != nil {
			return nil, fmt.Errorf("write detail of audit record %s: %w", action, err)
		}
		r.Detail = string(text)
	}
	whole, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("write audit record %s: %w", action, err)
	}
	h := sha256.Sum256(whole)
	r.ID = hex.EncodeToString(h[:16])
	return r, nil
}

// actor is who runs the program: user@host, or uid:NUMBER@host where the user has no name.
func actor() string {
	name := "uid:" + strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return name + "@" + host
}
