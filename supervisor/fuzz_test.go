package supervisor

import (
	"context"
	"testing"

	"supervisor/supervisor/state"
)

func FuzzRestore(f *testing.F) {
	f.Add([]byte(`{"schema":1,"last_id":9,"last_key":7,"unkept":[{"name":"web"}],"apps":[{"head":{"name":"web","want":1,"count":2,"cur":1,"ops":[{"kind":3,"action":"scaled","since":4}]},"env":["A=1"],` +
		`"starting":{"head":{"count":2},"env":null},"roll":{"head":{"rec":{"from":1,"to":2,"slots":null,"phase":1},"target":2,"asked":1,"drops":[null,3]},"env":[],"rows":[{"slot":0}]},` +
		`"gens":[{"head":{"n":1},"served":{"0":["tcp://:1"]}},{"head":{"n":2}}],"members":[{"key":3,"gen":1,"machine":{"state":4,"want":1,"inc":2},"timers":{"kill_timeout":5},"id":8,"pid":1},{"gen":2,"machine":{"state":1},"fresh":true,"id":9}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := Restore(state.DaemonInfo{}, data, map[uint64]Found{8: {PID: 1}, 77: {App: "web", PID: 2}}, RestoreOptions{Crash: true})
		if err != nil {
			return
		}
		again, err := Restore(state.DaemonInfo{}, afresh(l), nil, RestoreOptions{})
		if err != nil {
			t.Fatalf("%s\nis written as\n%s\n%v", data, afresh(l), err)
		}
		if text := differ(afresh(l), afresh(again)); text != "" {
			t.Error(text)
		}
		if workers := len(l.snapshot().Apps); workers > 0 && small(l) {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			_ = l.Run(ctx, idle{}) // resumes, and ends
		}
	})
}

// small reports whether a loop of any numbers can be run.
func small(l *Loop) bool {
	for _, a := range l.apps {
		if a.count > 100 || a.roll != nil && max(a.roll.instances, a.roll.wanted) > 100 || a.starting != nil && a.starting.count > 100 {
			return false
		}
	}
	return true
}

// idle is a World that does nothing of what it is asked.
type idle struct{}

func (idle) Prepare(PrepareOrder)                           {}
func (idle) Spawn(SpawnOrder)                               {}
func (idle) Admit(uint64)                                   {}
func (idle) Withdraw(uint64)                                {}
func (idle) Stop(StopOrder)                                 {}
func (idle) Alone(uint64)                                   {}
func (idle) Kill(uint64)                                    {}
func (idle) Signal(uint64, int)                             {}
func (idle) Forget(uint64)                                  {}
func (idle) Retain(string, []state.Listen, []uint64, []int) {}
func (idle) Release(string)                                 {}
func (idle) Drops(string)                                   {}
func (idle) Keep(state.Receipt)                             {}
func (idle) Record([][]byte) <-chan struct{}                { return nil }
