package supervisor

import (
	"time"

	"supervisor/supervisor/state"
)

// eventBuffer is how many events a reader may lag behind before it loses some.
const eventBuffer = 1024

// subscriber is one reader of the event stream.
type subscriber struct {
	ch    chan state.Event
	taken chan struct{} // closed when the loop knows it
	lost  int
}

// Events subscribes to what happens from now on. The channel is closed by cancel
// and by the end of the loop. A reader that lags behind loses events and gets one
// of kind EventLost with their number.
func (l *Loop) Events() (<-chan state.Event, func()) {
	s := &subscriber{ch: make(chan state.Event, eventBuffer), taken: make(chan struct{})}
	if l.send(subMsg{s}) {
		select {
		case <-s.taken:
			return s.ch, func() { l.send(unsubMsg{s}) }
		case <-l.ended:
		}
	}
	select {
	case <-s.taken: // the loop closed it when it ended
	default:
		close(s.ch)
	}
	return s.ch, func() {}
}

// publish gives every reader an event, and never waits for one.
func (l *Loop) publish(e state.Event) {
	l.seq++
	e.Seq, e.Time = l.seq, time.Now().UTC()
	for s := range l.subs {
		if s.lost > 0 && len(s.ch) < cap(s.ch)-1 {
			s.ch <- state.Event{Seq: e.Seq, Time: e.Time, Kind: state.EventLost, Lost: s.lost}
			s.lost = 0
		}
		select {
		case s.ch <- e:
		default:
			s.lost++
		}
	}
}

func workerEvent(w *member) state.Event {
	return state.Event{
		Kind: state.EventWorker, App: w.app.name, Slot: w.slot, Worker: w.id,
		Generation: w.gen.n, PID: w.pid,
	}
}

func (l *Loop) tellWorker(w *member, what, text string) {
	e := workerEvent(w)
	e.What, e.Text = what, text
	l.publish(e)
}
