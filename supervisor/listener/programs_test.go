package listener_test

import "fmt"

// program is what the test binary does in a role of its own.
func program(role string) error {
	return fmt.Errorf("no role %q", role)
}
