package daemon

import (
	"sync"

	"supervisor/supervisor"
)

// early tells the loop what happens, and keeps that until the loop runs: the table of
// sockets tells again what every worker listens on, and the loop's inbox takes only so
// much until somebody reads it.
type early struct {
	mu    sync.Mutex // also held while what was kept is passed on, so that the rest comes after it
	loop  func(supervisor.Fact)
	facts []supervisor.Fact
}

func (e *early) tell(f supervisor.Fact) {
	if loop := e.keep(f); loop != nil {
		loop(f)
	}
}

// keep keeps a fact, or gives who is to be told.
func (e *early) keep(f supervisor.Fact) (loop func(supervisor.Fact)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.loop == nil {
		e.facts = append(e.facts, f)
	}
	return e.loop
}

// pass tells what was kept, and from then on what comes, to a loop that runs.
func (e *early) pass(loop func(supervisor.Fact)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, f := range e.facts {
		loop(f)
	}
	e.loop, e.facts = loop, nil
}
