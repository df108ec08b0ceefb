package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

type receipt struct {
	N    int    `json:"n"`
	Text string `json:"text,omitempty"`
}

// numbers reads the N of every receipt.
func numbers(t *testing.T, d Dir, app string, n int) []int {
	t.Helper()
	raw, err := d.Read(app, n)
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for _, r := range raw {
		var v receipt
		if err := json.Unmarshal(r, &v); err != nil {
			t.Fatalf("%s: %v", r, err)
		}
		out = append(out, v.N)
	}
	return out
}

func TestTheLastHundredAreKept(t *testing.T) {
	d := Dir(filepath.Join(t.TempDir(), "not", "made", "yet"))
	if got := numbers(t, d, "api", 0); len(got) != 0 {
		t.Fatalf("history of a new app: %v", got)
	}
	for n := range 350 {
		if err := d.Append("api", receipt{N: n}); err != nil {
			t.Fatal(err)
		}
		got := numbers(t, d, "api", 0)
		if len(got) != min(n+1, Kept) || got[len(got)-1] != n || got[0] != max(0, n-Kept+1) {
			t.Fatalf("after %d: %d receipts, %d to %d", n, len(got), got[0], got[len(got)-1])
		}
	}
	if got := numbers(t, d, "api", 3); fmt.Sprint(got) != "[347 348 349]" {
		t.Errorf("the last 3: %v", got)
	}
	entries, err := os.ReadDir(string(d))
	if err != nil || len(entries) != 1 {
		t.Errorf("files %v, %v; want api.jsonl alone", entries, err)
	}
	path := filepath.Join(string(d), "api.jsonl")
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	text, err := os.ReadFile(path)
	if lines := bytes.Count(text, []byte("\n")); err != nil || lines > Kept+slack {
		t.Errorf("the file has %d lines, %v", lines, err)
	}
}

func TestTornLinesCostThemselvesAlone(t *testing.T) {
	d := Dir(t.TempDir())
	if err := d.Append("api", receipt{N: 1, Text: "a\nb\u2028c"}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(string(d), "api.jsonl")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(whole) {
		if err := os.WriteFile(path, append(bytes.Clone(whole), whole[:cut]...), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := numbers(t, d, "api", 0); fmt.Sprint(got) != "[1]" {
			t.Fatalf("cut at %d: %v", cut, got)
		}
		if err := d.Append("api", receipt{N: 2}); err != nil {
			t.Fatal(err)
		}
		// Cut before the newline alone, the line is whole once it is ended.
		want := "[1 2]"
		if cut == len(whole)-1 {
			want = "[1 1 2]"
		}
		if got := numbers(t, d, "api", 0); fmt.Sprint(got) != want {
			t.Fatalf("cut at %d, then appended: %v", cut, got)
		}
	}
}

func TestGarbageIsSkippedAndShortenedAway(t *testing.T) {
	d := Dir(t.TempDir())
	path := filepath.Join(string(d), "api.jsonl")
	long := strings.Repeat("x", MaxReceipt+2)
	garbage := "\x00\x01\n\n[1,\n" + long + "\n" + strings.Repeat("junk\n", 200)
	if err := os.WriteFile(path, []byte(`{"n":1}`+"\n"+garbage), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Append("api", receipt{N: 2}); err != nil {
		t.Fatal(err)
	}
	if got := numbers(t, d, "api", 0); fmt.Sprint(got) != "[1 2]" {
		t.Errorf("%v", got)
	}
	if text, _ := os.ReadFile(path); string(text) != "{\"n\":1}\n{\"n\":2}\n" {
		t.Errorf("the file holds %d bytes", len(text))
	}
}

func TestNamesStayInTheFolder(t *testing.T) {
	d := Dir(t.TempDir())
	seen := map[string]string{}
	for _, app := range []string{
		"api", "a/b", "a%2Fb", "..", ".", "../../etc/passwd", "/etc/passwd", "a\x00b", "a b", "ä", ".hidden", "API", "a.tmp", "-n", "a\nb",
	} {
		path, err := d.path(app)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Dir(path) != string(d) || strings.HasPrefix(filepath.Base(path), ".") {
			t.Errorf("%q is kept in %s", app, path)
		}
		if other, ok := seen[path]; ok {
			t.Errorf("%q and %q share %s", app, other, path)
		}
		seen[path] = app
		if err := d.Append(app, app); err != nil {
			t.Errorf("%q: %v", app, err)
		}
		if got, err := d.Read(app, 0); err != nil || len(got) != 1 {
			t.Errorf("%q: %s, %v", app, got, err)
		}
	}
	for _, app := range []string{"", strings.Repeat("/", 100)} {
		if err := d.Append(app, 1); err == nil {
			t.Errorf("%q is accepted", app)
		}
		if _, err := d.Read(app, 0); err == nil {
			t.Errorf("%q is read", app)
		}
	}
}

func TestWhatCannotBeKeptIsSaid(t *testing.T) {
	d := Dir(t.TempDir())
	if err := d.Append("api", func() {}); err == nil {
		t.Error("a func is a receipt")
	}
	if err := d.Append("api", strings.Repeat("x", MaxReceipt)); err == nil {
		t.Error("a receipt of more than MaxReceipt is kept")
	}
	if _, err := os.Stat(filepath.Join(string(d), "api.jsonl")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file was made: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Dir(file).Append("api", 1); err == nil || !strings.Contains(err.Error(), "cannot keep the receipt of api") {
		t.Errorf("a folder that is a file: %v", err)
	}
}

// A full disk: the kernel takes a part of the line and then says ENOSPC. A
// file size limit does the same with EFBIG, without a disk of our own.
func TestAFullDiskLosesTheNewReceiptAlone(t *testing.T) {
	if dir := os.Getenv("HISTORY_TEST_DIR"); dir != "" {
		limited(Dir(dir))
		return
	}
	d := Dir(t.TempDir())
	if err := d.Append("api", receipt{N: 1}); err != nil {
		t.Fatal(err)
	}
	out, err := reexec(t, "HISTORY_TEST_DIR="+string(d))
	if err != nil || !strings.Contains(out, "file too large") {
		t.Fatalf("the limited writer says %q, %v", out, err)
	}
	text, err := os.ReadFile(filepath.Join(string(d), "api.jsonl"))
	if err != nil || string(text) != "{\"n\":1}\n" {
		t.Errorf("the file holds %q, %v", text, err)
	}
	if err := d.Append("api", receipt{N: 2}); err != nil {
		t.Fatal(err)
	}
	if got := numbers(t, d, "api", 0); fmt.Sprint(got) != "[1 2]" {
		t.Errorf("%v", got)
	}
}

// limited appends a receipt under a limit that cuts it.
func limited(d Dir) {
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 100, Max: 100}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(d.Append("api", receipt{N: 9, Text: strings.Repeat("x", 500)}))
}

func FuzzTail(f *testing.F) {
	f.Add([]byte("{\"n\":1}\n{\"n\":2}\n"), 1)
	f.Add([]byte("{\"n\":1}\n{\"n\":"), 5)
	f.Add([]byte("\n\n\x00\n[]\nnull\n\"a\"\n1"), 2)
	f.Fuzz(func(t *testing.T, file []byte, n int) {
		n = 1 + n&0x7f
		last, lines, err := tail(bytes.NewReader(file), n)
		if err != nil {
			t.Fatal(err)
		}
		if len(last) > n || len(last) > lines {
			t.Errorf("%d receipts of %d lines, %d asked", len(last), lines, n)
		}
		for _, r := range last {
			if !json.Valid(r) || bytes.IndexByte(r, '\n') >= 0 || !bytes.Contains(file, r) {
				t.Errorf("%q", r)
			}
		}
	})
}

func FuzzPath(f *testing.F) {
	f.Add("../x")
	f.Add(".")
	f.Fuzz(func(t *testing.T, app string) {
		path, err := Dir("/d").path(app)
		if err == nil && (filepath.Dir(path) != "/d" || filepath.Clean(path) != path) {
			t.Errorf("%q: %s", app, path)
		}
	})
}
