package cli

import "supervisor/supervisor/state"

func flushCommand() *command {
	return simpleCommand("flush", state.VerbFlush, "empty the log files", "logs emptied")
}
