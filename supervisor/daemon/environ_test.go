package daemon

import (
	"slices"
	"testing"

	"supervisor/supervisor/state"
)

func TestBaseEnv(t *testing.T) {
	caller := []string{"PATH=/bin", "HOME=/h", "NOTIFY_SOCKET=@x", "LISTEN_FDS=1", "LISTEN_PID=7", "WATCHDOG_USEC=1", "FDSTORE=1",
		"TABLEFLIP_HAS_PARENT_7DIU3=yes", "READY_FD=3", "NODE_CHANNEL_FD=4", "SUPERVISOR_WORKER=9", "NODE_APP_INSTANCE=0",
		"AWS_KEY=secret", "KEYBOARD=us", "EMPTY=", "=odd", "novalue", "X=a=b"}
	for _, c := range []struct {
		name   string
		filter state.FilterEnv
		want   []string
	}{
		{"ours are left out", state.FilterEnv{}, []string{"PATH=/bin", "HOME=/h", "AWS_KEY=secret", "KEYBOARD=us", "EMPTY=", "X=a=b"}},
		{"a part of a name", state.FilterEnv{Contains: []string{"KEY"}}, []string{"PATH=/bin", "HOME=/h", "EMPTY=", "X=a=b"}},
		{"all", state.FilterEnv{All: true}, []string{"PATH=/bin", "HOME=/h"}},
	} {
		if got := baseEnv(caller, c.filter); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}

func TestTheFilesEnvironmentWins(t *testing.T) {
	spec := state.Spec{Env: map[string]string{"PORT": "80", "A": "file"}}
	got := workerEnv(spec, []string{"A=caller", "Z=1", "Z=2", "PATH=/bin"})
	if want := []string{"Z=1", "PATH=/bin", "A=file", "PORT=80"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestIdentity(t *testing.T) {
	spec := state.Spec{Name: "web", InstanceVar: "NODE_APP_INSTANCE", IncrementVar: "PORT"}
	got := identity(spec, []string{"PORT=3000"}, 2, 5, 17)
	for name, want := range map[string]string{"SUPERVISOR_APP": "web", "SUPERVISOR_WORKER": "17", "SUPERVISOR_GENERATION": "5",
		"NODE_APP_INSTANCE": "2", "PORT": "3002"} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	spec.InstanceVar = "SLOT"
	got = identity(spec, []string{"PORT=http"}, 1, 1, 1)
	if _, ok := got["PORT"]; ok || got["SLOT"] != "1" {
		t.Errorf("a variable that is no number: %v", got)
	}
	if _, ok := got["NODE_APP_INSTANCE"]; ok {
		t.Error("instance_var replaces NODE_APP_INSTANCE")
	}
}
