package cli

import "supervisor/supervisor/state"

func stopCommand() *command {
	return simpleCommand("stop", state.VerbStop, "stop apps; returns when every process is gone", "stopped")
}
