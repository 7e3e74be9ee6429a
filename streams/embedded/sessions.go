package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/amoskys/amoskys/streams/durable"
)

// sessionFile is where kfake keeps, over a clean close, what a broker otherwise keeps in memory.
const sessionFile = "session_state.json"

// ForgetMembers removes from a data directory which members the consumer groups had when the broker was closed. kfake
// leaves out the members whose session has run out meanwhile, but not what they owned: those partitions would be given to
// nobody ever again. Without it each member joins anew, as after a crash. Open transactions and settings are kept. It is
// called before the broker opens; a directory without the file is left as it is.
func ForgetMembers(dir string) error {
	path := filepath.Join(dir, sessionFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("forget group members: %w", err)
	}
	var state map[string]json.RawMessage
	if json.Unmarshal(text, &state) != nil {
		return nil // kfake says so, and starts without it
	}
	for _, key := range []string{"consumerGroups", "classicGroups", "fetchSessions"} {
		delete(state, key)
	}
	if text, err = json.Marshal(state); err != nil {
		return fmt.Errorf("forget group members: %w", err)
	}
	if err := durable.WriteFile(path, text, 0o600); err != nil {
		return fmt.Errorf("forget group members: %w", err)
	}
	return nil
}
