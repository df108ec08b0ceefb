package lab

import (
	"strings"
	"testing"
	"time"

	"supervisor/testdata/load"
)

const (
	// Clients is how many ask at the same time, over all loads of a test: enough to
	// have requests in flight at every instant, and a processor left for what is tested.
	Clients = 8
	// flowing is how many answers say that a load flows, before and after.
	flowing = 50
)

// Under keeps loads up while do runs, and fails the test for every request that was
// lost. It returns the results for more questions, in the order of the configs.
func Under(t testing.TB, do func(loads []*load.Load), configs ...load.Config) []load.Result {
	t.Helper()
	results := Lossy(t, do, configs...)
	for i, r := range results {
		if r.Failed > 0 {
			t.Errorf("load %d: %d of %d requests lost: %v\n%s", i, r.Failed, r.Requests, r.Failures, strings.Join(r.Examples, "\n"))
		}
	}
	return results
}

// Lossy is Under without the judgement.
func Lossy(t testing.TB, do func(loads []*load.Load), configs ...load.Config) (results []load.Result) {
	t.Helper()
	var loads []*load.Load
	for _, cfg := range configs {
		l := load.Run(t.Context(), cfg)
		defer l.Stop()
		loads = append(loads, l)
	}
	flows(t, loads...)
	do(loads)
	flows(t, loads...)
	for i, l := range loads {
		r := l.Stop()
		t.Logf("load %d: %d requests, %d lost; %d connections, %d closed while idle; by %d workers",
			i, r.Requests, r.Failed, r.Connections, r.IdleClosed, len(r.ByPid))
		results = append(results, r)
	}
	return results
}

// flows waits until each of the loads is answered.
func flows(t testing.TB, loads ...*load.Load) {
	t.Helper()
	for _, l := range loads {
		alarm := time.AfterFunc(Guard, func() { l.Stop() })
		err := l.Wait(flowing)
		alarm.Stop()
		if err != nil {
			t.Fatalf("nothing answers: %v\n%v", err, l.Stop())
		}
	}
}
