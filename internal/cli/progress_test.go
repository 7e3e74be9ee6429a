package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

func TestProgress(t *testing.T) {
	var b strings.Builder
	now := time.Unix(0, 0)
	p := &progress{w: &b, now: func() time.Time { return now }}
	p.begin("reading")
	p.at(1, 0) // nothing is known of the whole
	p.at(10, 100)
	p.at(11, 100) // too soon
	now = now.Add(4 * time.Second)
	p.at(40, 100)
	now = now.Add(time.Second)
	p.at(200, 100)
	p.end()
	want := "\rreading  10%\rreading  40%, 6s left\rreading 100%, 0s left\r" + strings.Repeat(" ", len("reading 100%, 0s left")) + "\r"
	if b.String() != want {
		t.Errorf("line is %q, want %q", b.String(), want)
	}
	quiet := (&command{IO: IO{Err: &b}}).progress()
	quiet.begin("reading")
	quiet.at(1, 2)
	quiet.end()
	if b.String() != want {
		t.Error("progress where there is no terminal")
	}
	if null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0); err != nil || terminal(null) || terminal(output{Writer: null}) {
		t.Errorf("%s is a terminal: %v", os.DevNull, err)
	}
}

// closedPipe is standard output that nobody reads.
type closedPipe struct{}

func (closedPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

// TestClosedOutput: a command whose output nobody reads ends.
func TestClosedOutput(t *testing.T) {
	u := startUp(t, t.TempDir())
	done := make(chan int, 1)
	go func() {
		done <- Run(context.Background(), []string{"tail", "lineage", "-f", "--data-dir", u.dir}, IO{Out: closedPipe{}, Err: io.Discard, Environ: freePorts})
	}()
	select {
	case code := <-done:
		if code != exitDone {
			t.Errorf("exit code %d", code)
		}
	case <-time.After(time.Minute):
		t.Error("it follows on")
	}
	u.stop()
}

// TestNobodyAnswers: an `up` that was killed left its file behind: that is told at once.
func TestNobodyAnswers(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/"+runningFile, []byte(`{"pid":1,"brokers":["127.0.0.1:1"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	r := must(t, exitFailed, "alerts", "--data-dir", dir)
	if !strings.Contains(r.err, "no 'amoskys up' answers at 127.0.0.1:1") || time.Since(began) > 5*time.Second {
		t.Errorf("after %s: %s", time.Since(began), r.err)
	}
}
