package daemon

import (
	"sync"

	"supervisor/supervisor/usage"
)

// looks count the open connections of workers that are told to stop. A thousand that
// stop at once share a few looks at the kernel's table of sockets: whoever comes while
// one is taken waits for the next.
type looks struct {
	counting chan struct{} // as many as may count at once

	mu      sync.Mutex
	waiting *look // the next; nil: nobody waits for one
	busy    bool
}

// look is one look and who waits for it.
type look struct {
	locals []usage.Local
	taken  chan struct{} // closed when seen is there
	seen   usage.Look
}

// connections is usage.Connections.
func (l *looks) connections(pid int, locals []usage.Local) (int, error) {
	seen := l.at(locals)
	l.counting <- struct{}{}
	defer func() { <-l.counting }()
	return seen.Connections(pid, locals)
}

// at returns a look at these listeners that was begun after the call.
func (l *looks) at(locals []usage.Local) usage.Look {
	l.mu.Lock()
	mine := l.waiting
	if mine == nil {
		mine = &look{taken: make(chan struct{})}
		l.waiting = mine
	}
	mine.locals = append(mine.locals, locals...)
	if !l.busy {
		l.busy = true
		go l.take() // ends when nobody waits
	}
	l.mu.Unlock()
	<-mine.taken
	return mine.seen
}

func (l *looks) take() {
	for {
		l.mu.Lock()
		next := l.waiting
		l.waiting = nil
		if next == nil {
			l.busy = false
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		next.seen = usage.LookAt(next.locals)
		close(next.taken)
	}
}
