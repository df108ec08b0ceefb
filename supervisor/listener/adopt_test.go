package listener_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"supervisor/supervisor/listener"
)

// remembered is a store and a recorder for tables that come after each other.
type remembered struct {
	stored  map[string]int
	records []listener.Record
}

func (m *remembered) Push(name string, fd int) error {
	mine, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	m.stored[name] = mine
	return err
}

func (m *remembered) Remove(name string) error {
	unix.Close(m.stored[name])
	delete(m.stored, name)
	return nil
}

func (m *remembered) record(all []listener.Record) <-chan struct{} {
	m.records = all
	return nil
}

func (m *remembered) take(name string) (int, bool) {
	fd, ok := m.stored[name]
	if !ok {
		return -1, false
	}
	fd, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	return fd, err == nil
}

// opened is what a table leaves that has declared sockets of all kinds, shares of
// even workers that are gone and one that is not.
func opened(t *testing.T) (m *remembered, sockets []listener.Socket) {
	t.Helper()
	m = &remembered{stored: map[string]int{}}
	r := newRigWith(t, listener.Config{Store: m, Record: m.record})
	t.Cleanup(func() {
		for _, fd := range m.stored {
			unix.Close(fd)
		}
	})
	list := []listener.Declared{
		tcp("127.0.0.1:%d", freePort(t)), tcp("[::1]:%d", freePort(t)), tcp(":%d", freePort(t)),
		{Network: "unix", Address: filepath.Join(t.TempDir(), "s")},
	}
	if err := r.Open("web", list); err != nil {
		t.Fatal(err)
	}
	for id := range uint64(3) {
		if _, err := r.Files(listener.Worker{ID: id + 1, App: "web", Even: true, PID: 1}, list); err != nil {
			t.Fatal(err)
		}
	}
	r.Admit(2)
	r.Withdraw(3)
	r.Detach(1)
	sockets = r.Sockets("web")
	r.Close()
	return m, sockets
}

// Records say all that is held: who reads them writes the same.
func TestRecordsRoundTrip(t *testing.T) {
	m, sockets := opened(t)
	data, err := json.Marshal(m.records)
	if err != nil {
		t.Fatal(err)
	}
	var read []listener.Record
	if err := json.Unmarshal(data, &read); err != nil || !reflect.DeepEqual(read, m.records) {
		t.Errorf("%v: read %+v, written %+v", err, read, m.records)
	}
	next := *m
	r := newRigWith(t, listener.Config{Store: &next, Record: next.record})
	lost, err := r.Adopt(read, m.take)
	if err != nil || len(lost) > 0 {
		t.Fatalf("lost %+v: %v", lost, err)
	}
	if held := r.Sockets("web"); !reflect.DeepEqual(held, sockets) {
		t.Errorf("held %+v, before %+v", held, sockets)
	}
	if !reflect.DeepEqual(next.records, m.records) {
		t.Errorf("on record %+v, before %+v", next.records, m.records)
	}
	if _, err := r.Adopt(read, m.take); err == nil {
		t.Error("adopted twice")
	}
	if _, err := r.Adopt(nil, m.take); err == nil {
		t.Error("adopted again")
	}
	// The one that was admitted lives; the others are gone.
	r.Claim(listener.Worker{ID: 2, App: "web", Even: true, PID: 1})
	r.Sweep()
	for _, s := range r.Sockets("web") {
		for _, h := range s.Shares {
			if slices.ContainsFunc(h.Workers, func(id uint64) bool { return id != 2 }) {
				t.Errorf("%+v", s)
			}
		}
	}
	// What comes is another number than all before.
	if err := r.Open("other", []listener.Declared{tcp("127.0.0.1:%d", freePort(t))}); err != nil {
		t.Fatal(err)
	}
	if newest := next.records[len(next.records)-1]; newest.App != "other" || newest.Seq <= read[len(read)-1].Seq {
		t.Errorf("%+v", newest)
	}
	r.Release("web")
	r.Release("other")
	if len(m.stored) > 0 || len(next.records) > 0 {
		t.Errorf("released, and stored is %v, on record %+v", m.stored, next.records)
	}
}

// What comes back is compared with what is on record.
func TestAdoptLoses(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(m *remembered, r *listener.Record)
		unix  bool
	}{
		{"not stored", func(m *remembered, r *listener.Record) { m.Remove(r.Name()) }, false},
		{"another inode", func(_ *remembered, r *listener.Record) { r.Inode++ }, false},
		{"another port", func(_ *remembered, r *listener.Record) { r.Port++ }, false},
		{"v6only", func(_ *remembered, r *listener.Record) { r.V6Only = true }, false},
		{"no number", func(_ *remembered, r *listener.Record) { r.Seq = 0 }, false},
		{"another's number", func(_ *remembered, r *listener.Record) { r.Seq++ }, false},
		{"a pipe", func(m *remembered, r *listener.Record) {
			var p [2]int
			unix.Pipe2(p[:], unix.O_CLOEXEC)
			unix.Close(p[0])
			m.Remove(r.Name())
			m.stored[r.Name()] = p[1]
		}, false},
		{"a file of another", func(_ *remembered, r *listener.Record) {
			os.Remove(r.Path)
			os.WriteFile(r.Path, nil, 0o600)
		}, true},
		{"no file", func(_ *remembered, r *listener.Record) { os.Remove(r.Path) }, true},
		{"a relative path", func(_ *remembered, r *listener.Record) { r.Path = "s" }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, _ := opened(t)
			records := slices.Clone(m.records)
			i := slices.IndexFunc(records, func(r listener.Record) bool { return (r.Path != "") == c.unix && (c.unix || r.IP.IsUnspecified()) })
			c.spoil(m, &records[i])
			r := newRigWith(t, listener.Config{Store: m, Record: m.record})
			lost, err := r.Adopt(records, m.take)
			if err != nil || len(lost) == 0 || !slices.ContainsFunc(lost, func(l listener.Record) bool { return reflect.DeepEqual(l, records[i]) }) {
				t.Errorf("lost %+v, not %+v: %v", lost, records[i], err)
			}
			r.Sweep()
			held := 0
			for _, s := range r.Sockets("web") {
				held += len(s.Shares)
			}
			for name := range m.stored { // whoever sweeps the store finds it
				if !slices.ContainsFunc(records, func(r listener.Record) bool { return r.Name() == name }) {
					m.Remove(name)
				}
			}
			if held+len(lost) != len(records) || len(m.stored) != held || len(m.records) != held {
				t.Errorf("%d of %d held, %d stored, %d on record", held, len(records), len(m.stored), len(m.records))
			}
			r.Release("web")
		})
	}
}

// Where the store is lost too, a process that has the socket gives it back.
func TestRecover(t *testing.T) {
	m, _ := opened(t)
	cmd := goSleep(t, m)
	for _, record := range m.records {
		if _, err := listener.Recover(record, []int{1 << 22}); err == nil {
			t.Errorf("%s is recovered from nobody", record.Addr)
		}
		fd, err := listener.Recover(record, []int{1 << 22, cmd})
		if err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil || st.Ino != record.Inode {
			t.Errorf("inode %d, not %d: %v", st.Ino, record.Inode, err)
		}
		unix.Close(fd)
		// A child of the worker's is known by its listen.
		record.Owners = append(slices.Clone(record.Owners), listener.Owner{Worker: 9, PID: 1 << 22, Listens: []int{cmd}})
		if fd, err = listener.Recover(record, []int{1 << 22}); err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
	}
}

// goSleep starts a process that has everything open, and gives its pid.
func goSleep(t *testing.T, m *remembered) int {
	t.Helper()
	var files []uintptr
	for _, fd := range m.stored {
		files = append(files, uintptr(fd))
	}
	pid, err := syscall.ForkExec("/bin/sleep", []string{"sleep", "1000"}, &syscall.ProcAttr{Files: append([]uintptr{0, 1, 2}, files...)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(pid, syscall.SIGKILL)
		syscall.Wait4(pid, nil, 0, nil)
	})
	return pid
}

// Whatever records say, nothing is closed but what take has given, and all of that.
func FuzzAdopt(f *testing.F) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	defer ln.Close()
	file, err := ln.(*net.TCPListener).File()
	if err != nil {
		f.Fatal(err)
	}
	defer file.Close()
	var st unix.Stat_t
	unix.Fstat(int(file.Fd()), &st)
	var ns unix.Stat_t
	unix.Stat("/proc/self/ns/net", &ns)
	good := fmt.Sprintf(`[{"seq":1,"inode":%d,"app":"web","netns":%d,"ip":"127.0.0.1","port":%d,"owners":[{"worker":1,"even":true,"standing":"admitted","listens":[1]}]}]`,
		st.Ino, ns.Ino, ln.Addr().(*net.TCPAddr).Port)
	for _, seed := range []string{good, `[]`, `[{}]`, `[{"seq":2},{"seq":2}]`, `[{"seq":1,"path":"/a/b","app":"x"}]`,
		`[{"seq":18446744073709551615,"index":-1}]`, `[{"seq":3,"ip":"fe80::1%eth0","port":1,"app":"a"}]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var records []listener.Record
		if json.Unmarshal(data, &records) != nil {
			return
		}
		given := map[string]int{}
		numbers := map[int]bool{}
		table := listener.New(listener.Config{})
		lost, err := table.Adopt(records, func(name string) (int, bool) {
			if _, again := given[name]; again {
				t.Errorf("%s is taken twice", name)
			}
			source := int(file.Fd())
			switch name[len(name)-1] {
			case '2':
				source = 0
			case '3':
				return -1, false
			}
			fd, err := unix.FcntlInt(uintptr(source), unix.F_DUPFD_CLOEXEC, 3)
			if err != nil {
				return -1, false
			}
			given[name], numbers[fd] = fd, true
			return fd, true
		})
		if err != nil || len(lost) > len(records) {
			t.Errorf("%d of %d lost: %v", len(lost), len(records), err)
		}
		table.Sweep()
		for _, s := range table.Sockets("web") {
			if s.Inode != st.Ino {
				t.Errorf("held %+v", s)
			}
		}
		table.Close()
		for fd := range numbers {
			if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
				t.Errorf("descriptor %d is left open", fd)
			}
		}
		if _, err := unix.FcntlInt(file.Fd(), unix.F_GETFD, 0); err != nil {
			t.Error("a foreign descriptor is closed")
		}
	})
}
