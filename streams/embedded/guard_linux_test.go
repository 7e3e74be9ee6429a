package embedded

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
)

// TestAFullDiskIsTold: once, after checks that found room or could not tell.
func TestAFullDiskIsTold(t *testing.T) {
	b := &Broker{dir: "/data", failed: make(chan error, 1)}
	answers := []func() (int64, error){
		func() (int64, error) { return 1 << 40, nil },
		func() (int64, error) { return 0, errors.New("no answer") },
		func() (int64, error) { return minFree - 1, nil },
	}
	asked := 0
	b.watchDisk(t.Context(), time.Millisecond, func(string) (int64, error) {
		asked++
		return answers[asked-1]()
	})
	select {
	case err := <-b.Err():
		if !errors.Is(err, ErrDiskFull) || !strings.Contains(err.Error(), "/data") || asked != 3 {
			t.Errorf("told after %d checks: %v", asked, err)
		}
	default:
		t.Error("a full disk is not told")
	}
	ended, end := context.WithCancel(t.Context())
	end()
	b.watchDisk(ended, time.Hour, func(string) (int64, error) { t.Error("asked after the end"); return 0, nil })
}

func TestRoomIsAskedOfAFolderThatExists(t *testing.T) {
	if err := roomFor(0, filepath.Join(t.TempDir(), "none"), slog.New(slog.DiscardHandler)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("room in a folder that is not there: %v", err)
	}
	if n := available(); n <= 0 {
		t.Errorf("available memory is %d", n)
	}
}

func TestSizeIsAMetric(t *testing.T) {
	reg := prometheus.NewRegistry()
	b := start(t, Config{Metrics: reg})
	topic(t, b, "log", "delete")
	rows(t, b, "log", 1000)
	fs, err := reg.Gather()
	if err != nil || len(fs) != 1 || fs[0].GetName() != "amoskys_broker_log_bytes" {
		t.Fatalf("metrics %v, %v", fs, err)
	}
	if n := fs[0].GetMetric()[0].GetGauge().GetValue(); n < 1e6 || n > 2e6 {
		t.Errorf("size of a log of 1,000 records of 1 KB is %v", n)
	}
	if second, err := Start(t.Context(), Config{Metrics: reg}); err == nil {
		second.Close()
		t.Error("two brokers share a metric")
	}
}

func TestWordsOfTheBroker(t *testing.T) {
	var text bytes.Buffer
	l := logger{slog.New(slog.NewTextHandler(&text, nil))}
	l.Logf(kfake.LogLevelError, "cannot write %s", "segment")
	l.Logf(kfake.LogLevelWarn, "torn at %d", 17)
	l.Logf(kfake.LogLevelWarn, "slow request %d", 1)
	l.Logf(kfake.LogLevelInfo, "opened")
	for word, want := range map[string]bool{"level=ERROR msg=\"broker: cannot write segment\"": true, "level=WARN msg=\"broker: torn at 17\"": true, "slow": false, "opened": false} {
		if strings.Contains(text.String(), word) != want {
			t.Errorf("%q is logged: %v, want %v; all: %s", word, !want, want, text.String())
		}
	}
}

// TestTrimThatIsStopped deletes nothing.
func TestTrimThatIsStopped(t *testing.T) {
	b := start(t, Config{MaxBytes: 4 << 20})
	topic(t, b, "log", "delete")
	rows(t, b, "log", 5000)
	ended, end := context.WithCancel(t.Context())
	end()
	if err := b.Trim(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("trim that is stopped: %v", err)
	}
	if p := b.cluster.PartitionInfo("log", 0); p.LogStartOffset != 0 {
		t.Errorf("it deleted up to %d", p.LogStartOffset)
	}
}
