package cli

import "supervisor/supervisor/state"

func deleteCommand() *command {
	c := simpleCommand("delete", state.VerbDelete, "stop apps and forget them", "deleted")
	c.aliases = []string{"del"}
	return c
}
