package listener

import (
	"bytes"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func mustTCP(t *testing.T, address string) key {
	t.Helper()
	k, err := parseTCP(address)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestCovers(t *testing.T) {
	only := func(k key) key { k.v6only = true; return k }
	v4any, v4 := mustTCP(t, "0.0.0.0:80"), mustTCP(t, "127.0.0.1:80")
	v6any, v6 := mustTCP(t, "[::]:80"), mustTCP(t, "[::1]:80")
	mapped := mustTCP(t, "[::ffff:127.0.0.1]:80")
	other, zone := mustTCP(t, "127.0.0.1:81"), mustTCP(t, "[fe80::1%2]:80")
	elsewhere := v4
	elsewhere.netns = 7
	for _, c := range []struct {
		k, w key
		want bool
	}{
		{v4, v4, true},
		{v4any, v4, true}, {v4, v4any, false},
		{v6any, v6, true}, {v6, v6any, false},
		{v6any, v4, true}, {v6any, v4any, true}, {only(v6any), v4, false}, {only(v6any), v4any, false},
		{v6any, only(v6any), true}, {only(v6any), v6any, false}, {only(v6any), v6, true},
		{v6, only(v6), true}, {only(v6), v6, true},
		{v4any, v6, false}, {v4any, v6any, false},
		{v6any, mapped, true}, {only(v6any), mapped, false}, {v4any, mapped, true}, {v4, mapped, true}, {mapped, v4, true}, {mapped, v4any, false},
		{v4any, other, false}, {v4any, elsewhere, false},
		{v6any, zone, true}, {zone, mustTCP(t, "[fe80::1%3]:80"), false},
		{key{family: unix.AF_UNIX}, v4, false},
	} {
		if got := c.k.covers(c.w); got != c.want {
			t.Errorf("%v (v6only %v) covers %v (v6only %v): %v", c.k, c.k.v6only, c.w, c.w.v6only, got)
		}
	}
}

func TestAddressRoundTrip(t *testing.T) {
	for _, s := range []string{"127.0.0.1:3000", "[::1]:3000", "[::]:1", "[fe80::1%2]:65535"} {
		k := mustTCP(t, s)
		if k.String() != "tcp://"+s {
			t.Errorf("%s shown as %s", s, k)
		}
		back, _, ok := parseSockaddr(k.sockaddr())
		if !ok || back != k {
			t.Errorf("%s: %+v became %+v", s, k, back)
		}
	}
}

func TestBucket(t *testing.T) {
	r := newBucket(2, 1)
	at := time.Unix(0, 0)
	for i, want := range []bool{true, true, false} {
		if got := r.take(at); got != want {
			t.Errorf("%d: %v", i, got)
		}
	}
	if at = at.Add(1e9); !r.take(at) || r.take(at) {
		t.Error("one more after a second")
	}
}

func FuzzSockaddr(f *testing.F) {
	f.Add([]byte{2, 0, 11, 184, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add(append([]byte{10, 0, 11, 184}, make([]byte, 24)...))
	f.Add([]byte("\x01\x00/run/app.sock\x00"))
	f.Add([]byte("\x01\x00\x00abstract"))
	f.Add([]byte{16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		k, path, ok := parseSockaddr(raw)
		if !ok {
			return
		}
		if k.isUnix() {
			if path == "" || bytes.IndexByte([]byte(path), 0) >= 0 {
				t.Errorf("path %q", path)
			}
			return
		}
		if k.port == 0 || len(raw) < 16 {
			t.Errorf("%v of %d bytes", k, len(raw))
		}
		if back, _, ok := parseSockaddr(k.sockaddr()); !ok || back != k {
			t.Errorf("%+v became %+v", k, back)
		}
	})
}

func FuzzDeclaredTCP(f *testing.F) {
	for _, s := range []string{"127.0.0.1:3000", ":80", "*:80", "localhost:1", "[::1%lo]:80", "[fe80::1%4]:9", "[::1:80", "::1:80", "a:b:1", "1.2.3.4:070"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		k, err := parseTCP(s)
		if err != nil {
			return
		}
		if k.port == 0 {
			t.Errorf("%q has port 0", s)
		}
		again, err := parseTCP(k.String()[len("tcp://"):])
		if err != nil || again != k {
			t.Errorf("%q: %+v shown as %s is %+v, %v", s, k, k, again, err)
		}
	})
}

func FuzzProc(f *testing.F) {
	f.Add([]byte("Name:\tnode\nUmask:\t0022\nTgid:\t12\nUid:\t1\t2\t3\t4\nGid:\t1\t2\t3\t4\n"), "socket:[123]")
	f.Add([]byte("pos:\t0\nflags:\t02000002\nmnt_id:\t1\n"), "pipe:[1]")
	f.Add([]byte("   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0"), "socket:[")
	f.Add([]byte("   1: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 5 1"), "")
	f.Fuzz(func(t *testing.T, b []byte, link string) {
		if st, err := parseStatus(b); err == nil && st.tgid == 0 {
			t.Error("no tgid, no error")
		}
		_, _ = parseFlags(b)
		_, _ = socketInode(link)
		if k, _, ok := parseNetLine(string(b)); ok && k.family == 0 {
			t.Error("no family")
		}
	})
}

func TestParseProc(t *testing.T) {
	k, inode, ok := parseNetLine("   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0")
	if !ok || inode != 4711 || k != mustTCP(t, "127.0.0.1:8080") {
		t.Errorf("%v %d %v", k, inode, ok)
	}
	k, _, ok = parseNetLine("   1: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 5 1")
	if !ok || k != mustTCP(t, "[::1]:8080") {
		t.Errorf("%v %v", k, ok)
	}
	st, err := parseStatus([]byte("Name:\tnode\nUmask:\t0027\nTgid:\t12\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\n"))
	if err != nil || st != (status{tgid: 12, uid: 4, gid: 8, umask: 0o27}) {
		t.Errorf("%+v %v", st, err)
	}
	if flags, err := parseFlags([]byte("pos:\t0\nflags:\t02004002\n")); err != nil || flags&unix.O_CLOEXEC == 0 || flags&unix.O_NONBLOCK == 0 {
		t.Errorf("%o %v", flags, err)
	}
}
