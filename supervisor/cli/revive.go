package cli

import (
	"encoding/json"
	"os"
	"path/filepath"

	"supervisor/supervisor/control"
)

// daemonStateName is the file of the daemon's whole state, in HOME/state.
const daemonStateName = "daemon.json"

// revive starts a supervisor again that was not told to end, and died together with
// its keeper, which else would have done so. It returns control.ErrNoDaemon when
// there is none.
func (s *session) revive() error {
	if !s.leftOpen() {
		return control.ErrNoDaemon
	}
	s.out.note("the supervisor has died, and its keeper with it; starting both again")
	ctx, cancel := s.context() // not the call's, which is to be short
	defer cancel()
	return s.startBackground(ctx, s.path)
}

// leftOpen reports whether the state on the disk is of this boot and of a daemon
// that was not told to end. What can't be read is of none.
func (s *session) leftOpen() bool {
	data, err := os.ReadFile(filepath.Join(s.path, stateName, daemonStateName))
	if err != nil {
		return false
	}
	var left struct {
		Boot   string `json:"boot_id"`
		Closed bool   `json:"closed"`
	}
	return json.Unmarshal(data, &left) == nil && !left.Closed && left.Boot != "" && s.env.Boot != nil && left.Boot == s.env.Boot()
}
