package handover

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestKeepAndLoad(t *testing.T) {
	d := Dir(filepath.Join(t.TempDir(), "state"))
	if _, err := d.Load("daemon.json"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("there is none: %v", err)
	}
	var parts [][]byte
	var want bytes.Buffer
	for i := range 3*maxParts + 7 { // more than one writev takes
		part := bytes.Repeat([]byte{byte(i)}, i%5*100)
		parts = append(parts, part)
		want.Write(part)
	}
	if err := d.Keep("daemon.json", parts); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Load("daemon.json"); err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Fatalf("%d bytes, want %d: %v", len(got), want.Len(), err)
	}
	if err := d.Keep("daemon.json", nil); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Load("daemon.json"); err != nil || len(got) != 0 {
		t.Fatalf("%q, %v", got, err)
	}
	if info, err := os.Stat(filepath.Join(string(d), "daemon.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if entries, _ := os.ReadDir(string(d)); len(entries) != 1 {
		t.Errorf("left: %v", entries)
	}
}

func TestAFailedKeepLeavesTheOldOne(t *testing.T) {
	d := Dir(t.TempDir())
	if err := d.Keep("a", [][]byte{[]byte("old")}); err != nil {
		t.Fatal(err)
	}
	tmp := filepath.Join(string(d), "a.tmp")
	if err := os.MkdirAll(filepath.Join(tmp, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := d.Keep("a", [][]byte{[]byte("new")}); err == nil {
		t.Fatal("no error")
	}
	if got, _ := d.Load("a"); string(got) != "old" {
		t.Errorf("%q", got)
	}
	os.RemoveAll(tmp)
	// A link that lies where the temporary file goes is not followed.
	victim := filepath.Join(t.TempDir(), "victim")
	os.WriteFile(victim, []byte("mine"), 0o600)
	if err := os.Symlink(victim, tmp); err != nil {
		t.Fatal(err)
	}
	if err := d.Keep("a", [][]byte{[]byte("new")}); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(victim); string(got) != "mine" {
		t.Error("written through a link")
	}
}

func TestForeignFilesAreRefusedAndMovedAside(t *testing.T) {
	d := Dir(t.TempDir())
	at := func(name string) string { return filepath.Join(string(d), name) }
	os.WriteFile(at("real"), []byte("real"), 0o600)
	for name, make := range map[string]func() error{
		"link":   func() error { return os.Symlink(at("real"), at("link")) },
		"folder": func() error { return os.Mkdir(at("folder"), 0o700) },
		"fifo":   func() error { return unix.Mkfifo(at("fifo"), 0o600) },
		"socket": func() error { return unix.Mknod(at("socket"), unix.S_IFSOCK|0o600, 0) },
		"large":  func() error { os.WriteFile(at("large"), nil, 0o600); return os.Truncate(at("large"), MaxState+1) },
	} {
		if err := make(); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Load(name); err == nil || name != "large" && !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %v", name, err)
		}
		if got := d.Aside(name); got != at(name+".bad") {
			t.Errorf("%s: moved to %q", name, got)
		}
		if _, err := d.Load(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if os.Geteuid() == 0 {
		os.WriteFile(at("others"), []byte("x"), 0o644)
		os.Chown(at("others"), 12345, 12345)
		if _, err := d.Load("others"); !errors.Is(err, ErrForeign) {
			t.Errorf("another user's: %v", err)
		}
	}
	if got, err := d.Load("real"); string(got) != "real" {
		t.Errorf("%q, %v", got, err)
	}
	for _, want := range []string{at("real.bad"), at("real.bad.2"), at("real.bad.3")} {
		if got := d.Aside("real"); got != want {
			t.Errorf("moved to %q, want %q", got, want)
		}
		os.WriteFile(at("real"), nil, 0o600)
	}
	if got := d.Aside("nothing"); got != "" {
		t.Errorf("moved nothing to %q", got)
	}
	for _, name := range []string{"", ".", "..", "../x", "a/b", "a\x00b", "x.tmp", "x.bad", "x.bad.2", strings.Repeat("x", 201)} {
		if d.Keep(name, nil) == nil || d.Aside(name) != "" {
			t.Errorf("%q is a name", name)
		}
		if _, err := d.Load(name); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestWhatARecordHolds(t *testing.T) {
	d := Dir(t.TempDir())
	want := Record{
		ID: 3, PID: 7, PGID: 7, Boot: "b", Signalled: []Proc{{7, 99}}, Hand: 4, Told: true,
		Inodes: map[string]uint64{".o": 12},
	}
	if err := d.Put(want); err != nil {
		t.Fatal(err)
	}
	// A record of the version before, and what a daemon left that died while it wrote.
	os.WriteFile(d.path(4), []byte(`{"schema":1,"id":4,"pid":8,"pgid":8,"boot_id":"b"}`), 0o600)
	os.WriteFile(d.path(5)+".tmp", []byte(`{`), 0o600)
	got, last, bad := d.Read("b")
	if len(got) != 2 || last != 5 || bad != nil {
		t.Fatalf("%+v, %d, %q", got, last, bad)
	}
	for _, r := range got {
		if r.ID == 3 && (len(r.Signalled) != 1 || r.Signalled[0] != want.Signalled[0] || r.Hand != 4 || !r.Told || r.Inodes[".o"] != 12) {
			t.Errorf("%+v", r)
		}
	}
	if _, err := os.Lstat(d.path(5) + ".tmp"); !os.IsNotExist(err) {
		t.Error("the torn one is left")
	}
}
