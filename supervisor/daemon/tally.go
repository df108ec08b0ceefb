package daemon

import (
	"supervisor/supervisor"
	"supervisor/supervisor/metrics"
	"supervisor/supervisor/state"
)

// tally is the one reader of the event stream that counts. It can't stall the loop: of
// what comes too fast it gets the number.
type tally struct {
	events <-chan state.Event
	cancel func()
	asks   chan func(*metrics.Counts)
	ended  chan struct{}
}

func newTally(l *supervisor.Loop) *tally {
	t := &tally{asks: make(chan func(*metrics.Counts)), ended: make(chan struct{})}
	t.events, t.cancel = l.Events()
	go t.count() // ends with its subscription, which is the loop's end at the latest
	return t
}

func (t *tally) count() {
	defer close(t.ended)
	counts := metrics.NewCounts()
	for {
		select {
		case e, more := <-t.events:
			if !more {
				return
			}
			counts.Learn(e)
		case look := <-t.asks:
			for range len(t.events) { // what has happened before the question
				if e, more := <-t.events; more {
					counts.Learn(e)
				}
			}
			look(counts)
		}
	}
}

// ask calls look with the counts, which it must not keep; false: they are no more.
func (t *tally) ask(look func(*metrics.Counts)) bool {
	done := make(chan struct{})
	select {
	case t.asks <- func(c *metrics.Counts) { look(c); close(done) }:
		<-done
		return true
	case <-t.ended:
		return false
	}
}

func (t *tally) end() {
	t.cancel()
	<-t.ended
}
