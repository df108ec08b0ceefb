package cli

import "supervisor/supervisor/state"

func resetCommand() *command {
	return simpleCommand("reset", state.VerbReset, "set the restart counters to 0", "counters reset")
}
