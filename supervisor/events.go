package supervisor

import (
	"time"

	"supervisor/supervisor/state"
)

// eventBuffer is how many events a reader may lag behind before it loses some, and
// eventBytes how much of what workers said with them.
const (
	eventBuffer = 1024
	eventBytes  = 8 << 20
)

// subscriber is one reader of the event stream.
type subscriber struct {
	ch    chan state.Event
	taken chan struct{} // closed when the loop knows it
	lost  int
	bytes int // of Data put into ch since it was empty
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
		if len(s.ch) == 0 {
			s.bytes = 0
		}
		if s.bytes+len(e.Data) > eventBytes {
			s.lost++
			continue
		}
		if s.lost > 0 && len(s.ch) < cap(s.ch)-1 {
			s.ch <- state.Event{Seq: e.Seq, Time: e.Time, Kind: state.EventLost, Lost: s.lost}
			s.lost = 0
		}
		select {
		case s.ch <- e:
			s.bytes += len(e.Data)
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
