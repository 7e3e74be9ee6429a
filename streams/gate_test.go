package streams

import (
	"testing"

	"github.com/amoskys/amoskys/schemas"
)

// The word about a loss is no collected event. With the number of the event that showed the loss, one of the two would be
// dropped as a repeat when both are read back from a recording.
func TestLossHasNoNumber(t *testing.T) {
	e := &schemas.Envelope{Tenant: "t", Host: "h", Boot: "b", Collector: "proc", Stream: "p0", Sequence: 9, Time: 1}
	l := lossOf(e, 4, 8)
	if v := &l.Envelope; v.Stream != "" || v.Sequence != 0 || v.Host != "h" || v.ClassUID != StatusClass || v.ActivityID != StatusLost {
		t.Errorf("envelope %+v", v)
	}
	if l.LostStream != "p0" || l.LostFrom != 4 || l.LostTo != 8 || e.Sequence != 9 {
		t.Errorf("loss %+v of %+v", l, e)
	}
}
