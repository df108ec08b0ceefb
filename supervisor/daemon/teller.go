package daemon

import (
	"sync"

	"supervisor/supervisor"
)

// teller gives the loop its facts. What is told before the loop runs waits here: its inbox
// has room for a few hundred, and a daemon that takes over may have more to tell, with
// nobody to take any yet.
type teller struct {
	mu    sync.Mutex // of those who tell; the loop never does
	to    interface{ Tell(supervisor.Fact) }
	early []supervisor.Fact
}

func (t *teller) tell(f supervisor.Fact) {
	t.mu.Lock()
	to := t.to
	if to == nil {
		t.early = append(t.early, f)
	}
	t.mu.Unlock()
	if to != nil {
		to.Tell(f)
	}
}

// begin passes on what has waited, to a loop that runs. Who tells meanwhile comes after it.
func (t *teller) begin(to interface{ Tell(supervisor.Fact) }) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, f := range t.early {
		to.Tell(f)
	}
	t.to, t.early = to, nil
}
