package gate

import (
	"bytes"
	"encoding/gob"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// text lists the entries as NETWORK ADDRESS FD.
func text(files []flipFile) (all []string) {
	for _, f := range files {
		all = append(all, fmt.Sprint(f.network, " ", f.address, " ", f.fd))
	}
	return all
}

func TestAliasesAreWhatTheListenerStandsInTheWayOf(t *testing.T) {
	for _, c := range []struct {
		name    string
		given   []string // the n-th has descriptor n
		has, no []string
	}{
		{"loopback", []string{"127.0.0.1:80"},
			[]string{"tcp 127.0.0.1:80 0", "tcp4 127.0.0.1:80 0", "tcp localhost:80 0", "tcp :80 0", "tcp 0.0.0.0:80 0", "tcp [::]:80 0", "tcp4 :80 0"},
			[]string{"tcp6 127.0.0.1:80", "tcp6 :80", "tcp [::1]:80", "tcp6 localhost:80", "tcp 127.0.0.1:81"}},
		{"localhost", []string{"localhost:80"}, []string{"tcp localhost:80 0", "tcp 127.0.0.1:80 0", "tcp :80 0"}, []string{"tcp6 [::1]:80"}},
		{"everything", []string{":80"},
			[]string{"tcp :80 0", "tcp4 :80 0", "tcp6 :80 0", "tcp 0.0.0.0:80 0", "tcp [::]:80 0", "tcp 127.0.0.1:80 0", "tcp localhost:80 0", "tcp [::1]:80 0"}, nil},
		{"IPv4", []string{"0.0.0.0:80"}, []string{"tcp 0.0.0.0:80 0", "tcp :80 0", "tcp 127.0.0.1:80 0"}, []string{"tcp6 :80", "tcp [::1]:80", "tcp6 localhost:80"}},
		{"IPv6", []string{"[::1]:80"}, []string{"tcp [::1]:80 0", "tcp6 [::1]:80 0", "tcp :80 0", "tcp6 localhost:80 0"}, []string{"tcp localhost:80", "tcp 127.0.0.1:80", "tcp4 :80"}},
		{"another address", []string{"10.0.0.5:80"}, []string{"tcp 10.0.0.5:80 0", "tcp :80 0"}, []string{"tcp 127.0.0.1:80", "tcp localhost:80"}},
		{"two of one port", []string{"127.0.0.1:80", "10.0.0.5:80"}, []string{"tcp 127.0.0.1:80 0", "tcp localhost:80 0", "tcp 10.0.0.5:80 1"}, []string{"tcp :80", "tcp 0.0.0.0:80"}},
		{"both wildcards", []string{"[::]:80", "0.0.0.0:80"}, []string{"tcp [::]:80 0", "tcp 0.0.0.0:80 1", "tcp 127.0.0.1:80 1", "tcp [::1]:80 0"}, []string{"tcp :80"}},
		{"two ports", []string{":80", ":81"}, []string{"tcp :80 0", "tcp :81 1", "tcp localhost:81 1"}, nil},
		{"not read", []string{"nowhere"}, nil, []string{"tcp nowhere"}},
	} {
		var listeners []Listener
		for fd, address := range c.given {
			listeners = append(listeners, Listener{fd, address})
		}
		got := text(aliases(listeners))
		for _, want := range c.has {
			if !slices.Contains(got, want) {
				t.Errorf("%s: no %q in %q", c.name, want, got)
			}
		}
		for _, not := range c.no {
			if slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, not+" ") }) {
				t.Errorf("%s: %q is in %q", c.name, not, got)
			}
		}
		seen := map[string]bool{}
		for _, s := range got {
			name := s[:strings.LastIndexByte(s, ' ')]
			if seen[name] {
				t.Errorf("%s: %s twice: the program would lose one", c.name, name)
			}
			seen[name] = true
		}
	}
}

// The bytes are those that encoding/gob writes and reads.
func TestNamesAreGob(t *testing.T) {
	for _, n := range []int{0, 1, 5, 200} {
		var files []flipFile
		want := [][]string{}
		for i := range n {
			address := fmt.Sprint(strings.Repeat("a", i), ":80")
			files = append(files, flipFile{"tcp", address, i})
			want = append(want, []string{"listener", "tcp", address})
		}
		got := encodeNames(files)
		var theirs bytes.Buffer
		if err := gob.NewEncoder(&theirs).Encode(want); err != nil {
			t.Fatal(err)
		}
		var back [][]string
		r := bytes.NewReader(got)
		if err := gob.NewDecoder(r).Decode(&back); err != nil || r.Len() > 0 {
			t.Fatalf("%d names: %v, %d bytes left", n, err, r.Len())
		}
		if fmt.Sprint(back) != fmt.Sprint(want) {
			t.Errorf("%d names: %q", n, back)
		}
		if n < 2 && len(got) != theirs.Len() {
			t.Errorf("%d bytes, gob's are %d:\n%x\n%x", len(got), theirs.Len(), got, theirs.Bytes())
		}
	}
}

func TestTableflipPipes(t *testing.T) {
	r := open(t, Config{Tableflip: &Tableflip{Listeners: []Listener{{FD: 0, Address: "127.0.0.1:80"}}}})
	if env := r.child.Env(TableflipBase); len(env) != 1 || env[0] != "TABLEFLIP_HAS_PARENT_7DIU3=yes" {
		t.Errorf("%q", env)
	}
	for _, fd := range r.child.Files[:2] {
		if fl, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); fl&unix.O_NONBLOCK != 0 {
			t.Error("the worker's end is non-blocking")
		}
		if fl, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); fl&unix.FD_CLOEXEC == 0 {
			t.Error("the worker's end is not close-on-exec here")
		}
	}
	said, names := r.hold(0), r.hold(1)
	r.CloseChild()
	r.Start()
	var list [][]string
	if err := gob.NewDecoder(names).Decode(&list); err != nil || len(list) != len(r.child.Files)-2 || len(list) < 5 {
		t.Fatalf("%q for %d files: %v", list, len(r.child.Files), err)
	}
	ended := make(chan error, 1)
	go func() { // ends with the pipe
		n, err := io.Copy(io.Discard, names)
		if n > 0 {
			err = fmt.Errorf("%d bytes more", n)
		}
		ended <- err
	}()
	r.silent()
	said.Write([]byte{42})
	r.want(Ready{7, TableflipPipe})
	said.Close()
	select {
	case err := <-ended:
		t.Fatalf("the names pipe ended while the predecessor lives: %v", err)
	default:
	}
	r.Alone()
	r.Alone()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := r.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	names.Close()
}

func TestTableflipEndsAndGarbageOpenNothing(t *testing.T) {
	r := open(t, Config{Tableflip: &Tableflip{}})
	said := r.hold(0)
	r.CloseChild()
	r.Start()
	said.WriteString("ready\n")
	if bad := (<-r.said).(Bad); bad.Channel != TableflipPipe {
		t.Error(bad)
	}
	said.Close()
	if err := r.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	r.silent()
}

func TestTableflipIsAlone(t *testing.T) {
	before := fds(t)
	if _, _, err := Open(Config{FD: true, Tableflip: &Tableflip{}}, nil); err == nil {
		t.Error("two channels want descriptor 3")
	}
	many := make([]Listener, 2000)
	for i := range many {
		many[i].Address = fmt.Sprint("127.0.0.1:", 1+i)
	}
	if _, _, err := Open(Config{Tableflip: &Tableflip{many}}, nil); err == nil || !strings.Contains(err.Error(), "2000 listeners") {
		t.Errorf("more names than a pipe holds: %v", err)
	}
	if after := fds(t); after != before {
		t.Errorf("descriptors before:\n%s\nafter:\n%s", before, after)
	}
}

func FuzzNames(f *testing.F) {
	f.Add("127.0.0.1:80", "[::]:80")
	f.Add("localhost:1", "*:1")
	f.Add("[fe80::1%2]:80", "a:b:c")
	f.Fuzz(func(t *testing.T, one, two string) {
		files := aliases([]Listener{{3, one}, {4, two}})
		var back [][]string
		if err := gob.NewDecoder(bytes.NewReader(encodeNames(files))).Decode(&back); err != nil || len(back) != len(files) {
			t.Fatalf("%d of %d names: %v", len(back), len(files), err)
		}
		for i, want := range files {
			if !slices.Equal(back[i], []string{"listener", want.network, want.address}) {
				t.Fatalf("%+v became %q", want, back[i])
			}
		}
	})
}
