package state

import "testing"

func TestWhatMayBeDoneTwice(t *testing.T) {
	tests := []struct {
		req  Request
		want bool
	}{
		{Request{Verb: VerbStart}, true},
		{Request{Verb: VerbStop}, true},
		{Request{Verb: VerbDelete}, true},
		{Request{Verb: VerbReset}, true},
		{Request{Verb: VerbFlush}, true},
		{Request{Verb: VerbKill}, true},
		{Request{Verb: VerbScale, Count: "3"}, false},
		{Request{Verb: VerbScale, Count: "+1"}, false},
		{Request{Verb: VerbReload}, false},
		{Request{Verb: VerbReload, DryRun: true}, true},
		{Request{Verb: VerbRestart}, false},
		{Request{Verb: VerbSignal}, false},
		{Request{Verb: VerbUpgrade}, false},
	}
	for _, tt := range tests {
		if got := tt.req.Repeatable(); got != tt.want {
			t.Errorf("%s %s: %v", tt.req.Verb, tt.req.Count, got)
		}
	}
}
