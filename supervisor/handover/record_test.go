package handover

import (
	"os"
	"path/filepath"
	"testing"
)

func TestRecordsOfThisBootComeBack(t *testing.T) {
	d := Dir(filepath.Join(t.TempDir(), "state"))
	for _, r := range []Record{
		{ID: 3, App: "web", PID: 100, PGID: 100, Boot: "this"},
		{ID: 9, App: "web", PID: 101, PGID: 101, Boot: "another"},
	} {
		if err := d.Put(r); err != nil {
			t.Fatal(err)
		}
	}
	got, last, bad := d.Read("this")
	if len(got) != 1 || got[0].ID != 3 || got[0].App != "web" || last != 9 || bad != nil {
		t.Fatalf("got %+v, last %d, bad %v", got, last, bad)
	}
	if err := d.Drop(3); err != nil {
		t.Fatal(err)
	}
	if err := d.Drop(3); err != nil {
		t.Fatal("a second Drop:", err)
	}
	if got, _, _ := d.Read("this"); len(got) != 0 {
		t.Fatalf("still there: %+v", got)
	}
}

func TestAFileThatIsNoRecordIsMovedAside(t *testing.T) {
	d := Dir(t.TempDir())
	for name, text := range map[string]string{
		"w1.json": "{half", "w2.json": `{"schema":99,"id":2,"pid":5,"pgid":5}`, "w3.json": `{"schema":1,"id":4,"pid":5,"pgid":5}`,
		"w5.json": `{"schema":1,"id":5,"pid":-1,"pgid":0}`, "notes.txt": "mine",
	} {
		if err := os.WriteFile(filepath.Join(string(d), name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, last, bad := d.Read("")
	if len(got) != 0 || last != 5 || len(bad) != 4 {
		t.Fatalf("got %+v, last %d, bad %v", got, last, bad)
	}
	if _, err := os.Stat(filepath.Join(string(d), "notes.txt")); err != nil {
		t.Fatal(err)
	}
}

func FuzzReadRecord(f *testing.F) {
	f.Add([]byte(`{"schema":1,"id":1,"pid":7,"pgid":7,"boot_id":"b"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d := Dir(t.TempDir())
		if err := os.WriteFile(d.path(1), data, 0o600); err != nil {
			t.Fatal(err)
		}
		got, _, _ := d.Read("b")
		for _, r := range got {
			if r.ID != 1 || r.PID < 2 || r.PGID < 2 || r.Boot != "b" {
				t.Fatalf("accepted %+v", r)
			}
		}
	})
}
