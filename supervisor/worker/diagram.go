package worker

import (
	"fmt"
	"slices"
	"strings"

	"supervisor/supervisor/state"
)

// Diagram returns the state diagram in mermaid's words, made from the table: one
// arrow for each pair of states, with the events that can take it.
func Diagram() string {
	var b strings.Builder
	b.WriteString("stateDiagram-v2\n    [*] --> Stopped\n")
	for _, from := range state.States {
		for _, to := range state.States {
			var by []string
			for _, k := range Kinds {
				if slices.Contains(table[from][k].to, to) {
					by = append(by, k.String())
				}
			}
			if len(by) > 0 {
				fmt.Fprintf(&b, "    %s --> %s: %s\n", from, to, strings.Join(by, ", "))
			}
		}
	}
	return b.String()
}
