package crash

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"supervisor/supervisor/state"
	"supervisor/testdata/lab"
	"supervisor/testdata/load"
)

// A command that waits while the daemon dies goes on with the next one, and tells how
// its work has ended, by its exit code too.
func TestCommandsOutliveADeath(t *testing.T) {
	for _, instant := range []string{state.WhatSpawned, state.WhatReady, state.WhatDraining, state.WhatGone} {
		for _, strategy := range []string{"rolling", "blue-green"} {
			t.Run(strategy+" "+instant, func(t *testing.T) {
				t.Parallel()
				a := web(t)
				a.instances, a.keys = 3, "reload: {strategy: "+strategy+"}"
				s := newSite(t, a)
				s.Must("start")
				before := s.steady()
				lab.Under(t, func([]*load.Load) {
					s.outlives(instant, before)
				}, s.loads(a)...)
			})
		}
	}
}

func (s *site) outlives(instant string, before view) {
	s.t.Helper()
	events := s.Events(s.t.Context())
	daemon := s.daemon()
	cmd := s.Command("reload", "web", "--json")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	events.Until(func(e state.Event) bool { return e.App == "web" && e.What == instant })
	daemon.Kill()
	cmd.Wait()
	after := s.steady()
	code := cmd.ProcessState.ExitCode()
	var answer struct{ Apps []state.Receipt }
	if err := json.Unmarshal(stdout.Bytes(), &answer); err != nil || len(answer.Apps) != 1 {
		s.t.Fatalf("exit %d, no receipt: %v\n%s%s", code, err, stdout.String(), stderr.String())
	}
	receipt := answer.Apps[0]
	s.t.Logf("exit %d, %s: %s", code, receipt.Result, receipt.Reason)
	switch receipt.Result {
	case state.Complete:
		if code != 0 {
			s.t.Errorf("complete, and exit %d: %s", code, stderr.String())
		}
		s.replaced(instant, "web", before, after)
	case state.Interrupted:
		if code != 1 {
			s.t.Errorf("interrupted, and exit %d: %s", code, stderr.String())
		}
	default:
		s.t.Errorf("%s: %+v", receipt.Result, receipt)
	}
	for _, w := range receipt.Workers {
		if pid := after[seat{"web", w.Slot}]; pid != w.NewPID && pid != w.OldPID {
			s.t.Errorf("slot %d has pid %d: %+v", w.Slot, pid, w)
		}
	}
	history := s.Must("history", "web", "--json").Stdout
	var kept struct{ Receipts []state.Receipt }
	s.Decode(history, &kept)
	same := func(r state.Receipt) bool { return r.Result == receipt.Result && r.StartedAt.Equal(receipt.StartedAt) }
	if n := len(kept.Receipts); n != 1 || !slices.ContainsFunc(kept.Receipts, same) {
		s.t.Errorf("the history has %d receipts: %s", n, strings.TrimSpace(history))
	}
}
