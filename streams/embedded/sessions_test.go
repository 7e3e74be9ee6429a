package embedded

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// member joins a group of the KIP-848 kind and tells which partitions it is given.
func member(t *testing.T, b *Broker, topic string) (*kgo.Client, func() []int32) {
	t.Helper()
	var mu sync.Mutex
	var have []int32
	cl := client(t, b, kgo.ConsumerGroup("group"), kgo.ConsumeTopics(topic), kgo.ServerSideBalancer(), kgo.Balancers(kgo.RangeBalancer()),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, m map[string][]int32) {
			mu.Lock()
			defer mu.Unlock()
			have = append(have, m[topic]...)
		}))
	return cl, func() []int32 {
		mu.Lock()
		defer mu.Unlock()
		return slices.Sorted(slices.Values(have))
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
		pause, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
		<-pause.Done()
		stop()
	}
}

// TestMembersGone closes the broker under a member that never comes back, and opens it after that member's session: the
// partitions must go to the next one.
func TestMembersGone(t *testing.T) {
	dir := t.TempDir()
	b := start(t, Config{Dir: dir})
	if _, err := kadm.NewClient(client(t, b)).CreateTopic(t.Context(), 4, 1, nil, "in"); err != nil {
		t.Fatal(err)
	}
	_, given := member(t, b, "in")
	waitFor(t, "partitions for the first member", func() bool { return len(given()) == 4 })
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	aged(t, filepath.Join(dir, sessionFile))

	b = start(t, Config{Dir: dir})
	_, given = member(t, b, "in")
	waitFor(t, "partitions for the second member", func() bool { return slices.Equal(given(), []int32{0, 1, 2, 3}) })
}

// aged makes a session file that of an hour ago.
func aged(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var state map[string]any
	if err := json.Unmarshal(text, &state); err != nil {
		t.Fatal(err)
	}
	groups, ok := state["consumerGroups"].(map[string]any)
	if !ok {
		t.Fatalf("no consumer group in %s", text)
	}
	old := time.Now().Add(-time.Hour).Format(time.RFC3339Nano)
	state["shutdownAt"] = old
	for _, g := range groups {
		for _, m := range g.(map[string]any)["members"].([]any) {
			m.(map[string]any)["lastHeartbeat"] = old
		}
	}
	if text, err = json.Marshal(state); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestForgetMembers keeps what is not about members, and takes a broken file for none.
func TestForgetMembers(t *testing.T) {
	dir := t.TempDir()
	if err := ForgetMembers(dir); err != nil {
		t.Errorf("without a file: %v", err)
	}
	path := filepath.Join(dir, sessionFile)
	for text, want := range map[string]string{
		`{"consumerGroups":{"g":{}},"classicGroups":{},"fetchSessions":{},"inProgressTxns":[{"pid":7}]}`: `{"inProgressTxns":[{"pid":7}]}`,
		`{"consumerG`: `{"consumerG`,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := ForgetMembers(dir); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(path); string(got) != want {
			t.Errorf("%s became %s, want %s", text, got, want)
		}
	}
}
