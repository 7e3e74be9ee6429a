package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// SignatureHeader is the name of the header with the signature.
const SignatureHeader = "X-Amoskys-Signature"

// Errors of Verify.
var (
	// ErrSignature is returned for a body that was not signed with any of the secrets, or was changed.
	ErrSignature = errors.New("signature is wrong")
	// ErrStale is returned for a signature that is right but older or newer than the tolerance: it may be a recording.
	ErrStale = errors.New("signature is of another time")
)

// Sign is the signature header of a body: t=SECONDS and, for each secret, v1=HMAC-SHA256 over "SECONDS.BODY" in hex.
func Sign(at time.Time, body []byte, secrets ...string) string {
	t := strconv.FormatInt(at.Unix(), 10)
	var b strings.Builder
	b.WriteString("t=" + t)
	for _, s := range secrets {
		b.WriteString(",v1=" + hex.EncodeToString(mac(s, t, body)))
	}
	return b.String()
}

func mac(secret, t string, body []byte) []byte {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(t + "."))
	m.Write(body)
	return m.Sum(nil)
}

// Verify checks a signature header, for receivers: that one of its signatures is of this body under the secret (else
// ErrSignature), and that it was made within the tolerance of now (else ErrStale).
func Verify(secret, header string, body []byte, now time.Time, tolerance time.Duration) error {
	var t string
	var sums [][]byte
	for part := range strings.SplitSeq(header, ",") {
		k, v, _ := strings.Cut(part, "=")
		switch k {
		case "t":
			t = v
		case "v1":
			if sum, err := hex.DecodeString(v); err == nil {
				sums = append(sums, sum)
			}
		}
	}
	seconds, err := strconv.ParseInt(t, 10, 64)
	if err != nil {
		return ErrSignature
	}
	want, right := mac(secret, t, body), false
	for _, sum := range sums {
		right = hmac.Equal(sum, want) || right
	}
	if !right {
		return ErrSignature
	}
	if age := now.Sub(time.Unix(seconds, 0)); age > tolerance || age < -tolerance {
		return fmt.Errorf("%w: %s old", ErrStale, age)
	}
	return nil
}
