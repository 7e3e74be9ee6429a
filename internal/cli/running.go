package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"time"

	"github.com/amoskys/amoskys/processors"
	"github.com/amoskys/amoskys/streams"
	"github.com/amoskys/amoskys/streams/durable"
)

// runningFile is in the data directory while an `up` runs there: other commands find its brokers by it.
const runningFile = "running.json"

// running tells where a running `up` can be reached.
type running struct {
	PID      int      `json:"pid"`
	Brokers  []string `json:"brokers"`
	Registry string   `json:"registry"`
	Listen   string   `json:"listen"`
}

func (c *command) running() (r running, err error) {
	path := c.path(runningFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, fmt.Errorf("no 'amoskys up' runs over %s: start one, or set --brokers", c.cfg.DataDir)
	}
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		return r, fmt.Errorf("read %s: %w", path, err)
	}
	if len(r.Brokers) > 0 && !answers(r.Brokers[0]) { // it was killed, and its file has stayed
		return r, fmt.Errorf("no 'amoskys up' answers at %s: the last one over %s (pid %d) has ended without a word; start one, or set --brokers", r.Brokers[0], c.cfg.DataDir, r.PID)
	}
	return r, nil
}

func answers(address string) bool {
	conn, err := net.DialTimeout("tcp", address, 2*time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

func (c *command) announce(r running) (remove func() error, err error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	path := c.path(runningFile)
	return func() error { return os.Remove(path) }, durable.WriteFile(path, text, 0o600)
}

func (c *command) stages(grouping string) ([]streams.Stage, error) {
	return stagesOf(processors.Suite(c.cfg.Processors), grouping)
}
