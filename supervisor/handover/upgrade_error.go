package handover

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// UpgradeError is why another process has not taken over. Nothing has changed:
// the process that tried goes on as before.
type UpgradeError struct {
	Err error // the cause; the new process's own words where it refused
	// Words are the last lines that the new process wrote to stdout or stderr before
	// it was ready, at most 20, without control characters.
	Words []string
}

// Error is one line, with the last of Words.
func (e *UpgradeError) Error() string {
	text := "cannot upgrade: " + e.Err.Error()
	var told errRefused
	if n := len(e.Words); n > 0 && !errors.As(e.Err, &told) {
		text += "; its last words: " + e.Words[n-1]
	}
	return text
}

func (e *UpgradeError) Unwrap() error { return e.Err }

// ErrUpgrading is the cause when another upgrade of this process has not ended.
var ErrUpgrading = errors.New("another upgrade is going on")

// ErrUpgradeSpent is the cause when what an earlier attempt had started was no
// supervisor and told tableflip that it was ready: tableflip gives each process one
// ready successor. Whoever holds the descriptors can still start another daemon when
// this one ends.
var ErrUpgradeSpent = errors.New("an earlier attempt started a program that took itself for ready; this process can't try again, only be ended and started anew")

// errRefused is what the new process itself said.
type errRefused string

func (e errRefused) Error() string { return "the new supervisor refuses: " + string(e) }

// schemaError says that the state can't be handed over.
func schemaError(schema int, reads []int) error {
	list := make([]string, len(reads))
	for i, n := range slices.Sorted(slices.Values(reads)) {
		list[i] = strconv.Itoa(n)
	}
	text := strings.Join(list, ", ")
	switch n := len(list); {
	case n == 0:
		text = "none"
	case n > 1:
		text = strings.Join(list[:n-1], ", ") + " and " + list[n-1]
	}
	return fmt.Errorf("the new supervisor can't read this state: schema %d, it reads %s", schema, text)
}

// step is what the old process waits for.
type step int

const (
	stepHello step = iota
	stepAdopt
	stepQuiet
	stepReady
	stepBegin
)

// late says that a step took too long.
func (s step) late(who string, limit time.Duration) error {
	if s == stepQuiet {
		return fmt.Errorf("this supervisor did not hold still within %v", limit)
	}
	did := [...]string{
		stepHello: "did not say hello",
		stepAdopt: "did not adopt the workers",
		stepReady: "was not ready",
	}[s]
	return fmt.Errorf("%s %s within %v and was killed", who, did, limit)
}

// lost says that the new process ended by itself; how is "exit status 1", "" when
// it is not known.
func (s step) lost(who, how string) error {
	if how != "" {
		how = " (" + how + ")"
	}
	when := [...]string{
		stepHello: "before it said hello; is it a supervisor?",
		stepAdopt: "while it adopted the workers",
		stepReady: "before it was ready",
		stepBegin: "before it was told to begin",
	}[s]
	return fmt.Errorf("%s ended%s %s", who, how, when)
}
