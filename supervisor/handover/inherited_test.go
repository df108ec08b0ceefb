package handover

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func environment(vars ...string) func(string) string {
	return func(name string) string {
		for _, kv := range vars {
			if value, ok := strings.CutPrefix(kv, name+"="); ok {
				return value
			}
		}
		return ""
	}
}

func TestListed(t *testing.T) {
	for _, c := range []struct {
		env  []string
		want []string
	}{
		{nil, nil},
		{[]string{"LISTEN_PID=10", "LISTEN_FDS=2", "LISTEN_FDNAMES=ctl:w1.o"}, []string{"ctl", "w1.o"}},
		{[]string{"LISTEN_PID=keeper:9", "LISTEN_FDS=1", "LISTEN_FDNAMES=ctl"}, []string{"ctl"}},
		{[]string{"LISTEN_PID=keeper:10", "LISTEN_FDS=1", "LISTEN_FDNAMES=ctl"}, nil},
		{[]string{"LISTEN_PID=9", "LISTEN_FDS=1"}, nil},
		{[]string{"LISTEN_PID=10", "LISTEN_FDS=3", "LISTEN_FDNAMES=a"}, []string{"a", "unknown", "unknown"}},
		{[]string{"LISTEN_PID=10", "LISTEN_FDS=1", "LISTEN_FDNAMES=a:b:c"}, []string{"a"}},
		{[]string{"LISTEN_PID=10", "LISTEN_FDS=3", "LISTEN_FDNAMES=:b"}, []string{"unknown", "b", "unknown"}},
		{[]string{"LISTEN_PID=10", "LISTEN_FDS=-1"}, nil},
		{[]string{"LISTEN_PID=10", "LISTEN_FDS=1000000000"}, nil},
		{[]string{"LISTEN_PID=10", "LISTEN_FDS=many"}, nil},
		{[]string{"LISTEN_PID=", "LISTEN_FDS=1"}, nil},
	} {
		if got := listed(environment(c.env...), 10, 9); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.env, got, c.want)
		}
	}
}

func FuzzListed(f *testing.F) {
	f.Add("10", "2", "a:b")
	f.Add("keeper:9", "65536", ":::")
	f.Fuzz(func(t *testing.T, pid, fds, names string) {
		got := listed(environment("LISTEN_PID="+pid, "LISTEN_FDS="+fds, "LISTEN_FDNAMES="+names), 10, 9)
		if len(got) > maxInherited || len(got) > 0 && pid != "10" && pid != "keeper:9" {
			t.Fatalf("%d listed", len(got))
		}
		for _, name := range got {
			if name == "" || strings.Contains(name, ":") {
				t.Fatalf("the name %q", name)
			}
		}
	})
}

func TestStoreMax(t *testing.T) {
	for value, want := range map[string]int{"": 0, "8192": 8192, "-1": 0, "x": 0, "99999999999999": 0} {
		if got := StoreMax(environment("FDSTORE=" + value)); got != want {
			t.Errorf("FDSTORE=%s: %d", value, got)
		}
	}
}

// deadKeeper is no process's pid any more: it died when it had started its daemon.
const deadKeeper = 1 << 30

// What was not stored comes apart, each of it, also under one name.
func TestInherited(t *testing.T) {
	if os.Getenv("INHERITED") != "" {
		held, foreign := Inherited(os.Getenv, deadKeeper, func(name string) bool { return name == "ctl" })
		fmt.Println(held, foreign)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestInherited$")
	cmd.Env = append(os.Environ(), "INHERITED=1", "LISTEN_FDS=5", "LISTEN_FDNAMES=web:ctl:web:ctl:other", "LISTEN_PID=keeper:"+strconv.Itoa(deadKeeper))
	for range 4 { // the fifth is not open
		null, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, null)
	}
	out, err := cmd.Output()
	if want := "map[ctl:6] [{web 3} {web 5}"; err != nil || !strings.HasPrefix(string(out), want) {
		t.Errorf("%v: %s, want %s", err, out, want)
	}
}
