package streams

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// moody refuses several records together for good, and one alone for now.
type moody struct{ calls int }

func (m *moody) Deliver(_ context.Context, batch []Delivery) error {
	m.calls++
	if len(batch) > 1 {
		return Permanent(errors.New("never"))
	}
	return errors.New("not now")
}

func (m *moody) Close() error { return nil }

// While the record that a sink will never take is looked for, the sink may be down: it is not asked without a pause.
func TestSinkThatIsDownIsNotHammered(t *testing.T) {
	m := &moody{}
	s := &SinkRunner{Name: "moody", Sink: m, log: slog.New(slog.DiscardHandler),
		counts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "n"}, []string{"sink", "result"})}
	began := time.Now()
	if left := s.refuse(t.Context(), make([]Delivery, 3), Permanent(errors.New("never"))); len(left) != 3 {
		t.Fatalf("%d records are left, want all", len(left))
	}
	if took := time.Since(began); took < firstRetry/2 || m.calls != 1 {
		t.Errorf("asked %d times within %s", m.calls, took)
	}
}
