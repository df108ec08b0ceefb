package gate

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func startNode(t *testing.T) (*rig, *os.File) {
	t.Helper()
	r := open(t, Config{Node: true})
	w := r.hold(0)
	r.CloseChild()
	r.Start()
	return r, w
}

func TestNodeReady(t *testing.T) {
	r := open(t, Config{FD: true, Notify: true, Node: true})
	r.spawn(nil, "node", "-e", `
		process.on('message', (m) => { if (m === 'shutdown') process.send({got: m}, () => process.exit(3)) })
		process.send({loading: "50 %\n"}); process.send(42); process.send("text"); process.send(null); process.send([true])
		process.send('ready')`)
	r.want(message(`{"loading":"50 %\n"}`), message("42"), message(`"text"`), message("null"), message("[true]"), Ready{7, NodeIPC})
	if err := r.Send(t.Context(), "shutdown"); err != nil {
		t.Fatal(err)
	}
	r.want(message(`{"got":"shutdown"}`))
	if ws := r.wait(); ws.ExitStatus() != 3 {
		t.Fatalf("exit %v", ws)
	}
	if err := r.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.silent()
	if err := r.Send(t.Context(), "shutdown"); !errors.Is(err, ErrGone) {
		t.Fatalf("Send to one that is gone: %v", err)
	}
}

func TestNodeSendsHandles(t *testing.T) {
	r := open(t, Config{Node: true})
	before := fds(t)
	r.spawn(nil, "node", "-e", `
		const net = require('net')
		const s = net.createServer().listen(0, '127.0.0.1', () => {
			for (let i = 0; i < 30; i++) process.send('srv' + i, s)
			process.send({cmd: 'mine'}, s)
			process.send('ready')
		})
		process.on('message', () => { s.close(); process.disconnect() })`)
	for i := range 30 {
		r.want(message(fmt.Sprintf(`"srv%d"`, i)))
	}
	r.want(message(`{"cmd":"mine"}`), Ready{7, NodeIPC})
	// CloseChild took one since; nothing was added.
	if after := fds(t); strings.Count(after, "\n") != strings.Count(before, "\n")-1 {
		t.Errorf("descriptors before:\n%s\nafter:\n%s", before, after)
	}
	if err := r.Send(t.Context(), map[string]int{"end": 1}); err != nil {
		t.Fatal(err)
	}
	if ws := r.wait(); ws.ExitStatus() != 0 {
		t.Fatalf("exit %v", ws)
	}
}

func TestNodeLargeHandleMessage(t *testing.T) {
	r := open(t, Config{Node: true})
	r.spawn(nil, "node", "-e", `
		const s = require('net').createServer().listen(0, '127.0.0.1', () => {
			process.send('x'.repeat(3 << 20), s)
			process.send('ready')
			process.once('message', () => process.exit(0))
		})`)
	r.want(Bad{7, NodeIPC, "a message of more than 1048576 bytes"}, Ready{7, NodeIPC})
	big := strings.Repeat("ü", 300_000)
	if err := r.Send(t.Context(), big); err != nil {
		t.Fatal(err)
	}
	if ws := r.wait(); ws.ExitStatus() != 0 {
		t.Fatalf("exit %v", ws)
	}
}

func TestNodeGarbage(t *testing.T) {
	r, w := startNode(t)
	for _, s := range []string{"\n", "  \n", "ready\n", "{\n", "\x00\xff\n", `{"cmd":"NODE_`, "\n", `{"cmd":"NODE_HANDLE"}` + "\n",
		`{"cmd":"NODE_FUTURE","x":1}` + "\n", `{"CMD":"NODE_HANDLE"}` + "\n", `{"cmd":7,"x":"NODE_"}` + "\n", `"ready"` + "\n"} {
		w.WriteString(s)
	}
	r.want(Bad{7, NodeIPC, "not a JSON line"}, message(`{"CMD":"NODE_HANDLE"}`), message(`{"cmd":7,"x":"NODE_"}`), Ready{7, NodeIPC})
}

func TestNodeByteByByte(t *testing.T) {
	r, w := startNode(t)
	for _, b := range []byte(`{"text":"` + strings.Repeat("x", 2000) + `"}` + "\n") {
		w.Write([]byte{b})
	}
	r.want(message(`{"text":"` + strings.Repeat("x", 2000) + `"}`))
}

func TestNodeFloodOfMessages(t *testing.T) {
	r, w := startNode(t)
	flood := bytes.Repeat([]byte("1\n"), 100)
	const sent = 100 * 100
	for range 100 {
		w.Write(flood)
	}
	w.WriteString("\"ready\"\n")
	passed, dropped := 0, uint64(0)
	for {
		switch f := r.next().(type) {
		case Message:
			passed++
			dropped += f.Dropped
			continue
		case Bad:
			if f.Why != "more than 256 messages or 2097152 bytes in a second: dropped" {
				t.Fatal(f)
			}
			continue
		case Ready:
		}
		break
	}
	if passed < MaxMessages || passed > sent/2 || passed+int(dropped) > sent {
		t.Fatalf("%d passed, %d dropped", passed, dropped)
	}
}

func TestNodeLongLineNeedsNoMemory(t *testing.T) {
	r, w := startNode(t)
	const long = 40 << 20
	part := bytes.Repeat([]byte("x"), 1<<20)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	w.WriteString(`"`)
	for range long / len(part) {
		if _, err := w.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	w.WriteString("\"\n\"ready\"\n")
	r.want(Bad{7, NodeIPC, "a message of more than 1048576 bytes"}, Ready{7, NodeIPC})
	runtime.ReadMemStats(&after)
	if grown := int64(after.Sys - before.Sys); grown > 16<<20 {
		t.Errorf("%d bytes more", grown)
	}
}

func TestSendToOneThatNeverReads(t *testing.T) {
	r, w := startNode(t)
	var sent int
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		err := r.Send(ctx, sent)
		cancel()
		if err != nil {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			break
		}
		if sent++; sent > 1_000_000 {
			t.Fatal("a socket without end")
		}
	}
	// Quiesce, messages and Close work on meanwhile.
	why := errors.New("given up")
	ctx, cancel := context.WithCancelCause(t.Context())
	waiting := make(chan error, 3)
	for range 3 {
		go func() { waiting <- r.Send(ctx, "waits") }() // ends with the cancel
	}
	r.Quiesce()
	r.Resume()
	w.WriteString("\"ready\"\n")
	r.want(Ready{7, NodeIPC})
	cancel(why)
	for range 3 {
		if err := <-waiting; !errors.Is(err, why) {
			t.Fatal(err)
		}
	}
	go func() { waiting <- r.Send(context.Background(), "last") }() // ends with Close
	r.Close()
	if err := <-waiting; !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	n := 0
	for lines := bufio.NewScanner(w); lines.Scan(); n++ {
		if lines.Text() != fmt.Sprint(n) {
			t.Fatalf("line %d is %q", n, lines.Text())
		}
	}
	if n != sent {
		t.Fatalf("%d lines of %d", n, sent)
	}
}

func TestLineOnceBegunIsFinished(t *testing.T) {
	r, w := startNode(t)
	lines := bufio.NewReader(w)
	big := strings.Repeat("x", MaxSend-2) // more than a socket holds
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Send(ctx, big) }() // ends with the cancel
		if b, err := lines.Peek(1); err != nil || b[0] != '"' {
			t.Fatalf("%q, %v", b, err)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		r.Quiesce()
		r.Resume()
		go func() { done <- r.Send(t.Context(), "shutdown") }() // ends when it is read
		for _, want := range []string{`"` + big + `"`, `"shutdown"`} {
			got, err := lines.ReadString('\n')
			if err != nil || got != want+"\n" {
				t.Fatalf("%d bytes (%.20q), %v; want %d", len(got), got, err, len(want)+1)
			}
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

func TestSendOnlyWhatNodeCanRead(t *testing.T) {
	r, w := startNode(t)
	for _, v := range []any{
		json.RawMessage("{"), json.RawMessage(""), func() {}, strings.Repeat("x", MaxSend),
		map[string]string{"cmd": "NODE_HANDLE"}, json.RawMessage(`{"cmd":"NODE_CLUSTER","act":"disconnect"}`),
	} {
		if err := r.Send(t.Context(), v); err == nil {
			t.Errorf("sent %.40v", v)
		}
	}
	if err := r.Send(t.Context(), json.RawMessage("{\n\"a\":\n\"b\\n\"}")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	n, err := w.Read(b)
	if err != nil || string(b[:n]) != `{"a":"b\n"}`+"\n" {
		t.Fatalf("%q, %v", b[:n], err)
	}
}

func TestHandlesWithoutReadingTheAnswers(t *testing.T) {
	r, w := startNode(t)
	// So many that the answers fill the socket: then they are dropped, not kept.
	flood := bytes.Repeat([]byte(`{"cmd":"NODE_HANDLE","type":"net.Socket","msg":{"cmd":"NODE_X"}}`+"\n"), 100)
	for range 20 {
		if _, err := w.Write(flood); err != nil {
			t.Fatal(err)
		}
	}
	w.WriteString("\"ready\"\n")
	r.want(Bad{7, NodeIPC, "handles without end, and the answers are not read"}, Ready{7, NodeIPC})
}

func TestEndOfChannelIsOurs(t *testing.T) {
	// A worker that closes its end, with our words unread in it: a reset, which is an end.
	r, w := startNode(t)
	if err := r.Send(t.Context(), "unread"); err != nil {
		t.Fatal(err)
	}
	w.WriteString("1\n2")
	w.Close()
	if err := r.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.want(message("1"))
	r.silent()
}

// TestPeek: a message is still in the socket, whole, while it is being reported.
func TestPeek(t *testing.T) {
	held := make(chan int, 2)
	var fd int
	g, c, err := Open(Config{Node: true}, func(Fact) {
		n, _, _ := unix.Recvfrom(fd, make([]byte, nodeBuffer), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		held <- n
	})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	g.out.raw.Control(func(u uintptr) { fd = int(u) })
	g.Start()
	for _, s := range []string{`"ready"`, `"` + strings.Repeat("x", nodeBuffer-10) + `"`} {
		unix.Write(c.Files[0], []byte(s+"\n"))
		select {
		case n := <-held:
			if n != len(s)+1 {
				t.Fatalf("%d bytes of %d", n, len(s)+1)
			}
		case <-time.After(guard):
			t.Fatal("no fact came")
		}
	}
}

func FuzzSplitter(f *testing.F) {
	f.Add([]byte("a\nbb\n\nccc"), uint8(2))
	f.Add([]byte("0123456789\n01234567\n"), uint8(3))
	f.Add([]byte("01234567890123456789\nx\n"), uint8(0))
	f.Fuzz(func(t *testing.T, p []byte, chunk uint8) {
		const limit = 8
		var want, got []string
		lines := bytes.Split(p, []byte("\n"))
		for i, l := range lines {
			if len(l) > limit {
				want = append(want, "long "+string(l[:limit]))
			} else if i < len(lines)-1 {
				want = append(want, "line "+string(l))
			}
		}
		s := splitter{max: limit}
		for c := range slices.Chunk(slices.Clone(p), int(chunk)+1) {
			s.feed(c, func(l []byte, long bool) {
				kind := "line "
				if long {
					kind = "long "
				}
				got = append(got, kind+string(l))
			})
			clear(c) // a slice kept would show
			if len(s.part) > limit {
				t.Fatalf("holds %d bytes", len(s.part))
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%q by %d: %q, want %q", p, int(chunk)+1, got, want)
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`"ready"`, `{"cmd":"NODE_HANDLE","type":"net.Server","msg":"srv"}`, `{"cmd":"NODE_HANDLE"}`, `{"cmd":"NODE_"}`,
		`{"cmd":["NODE_X"]}`, `{"cmd":"NODE_CLUSTER","act":"online","seq":0}`, `{`, ``, ` `, `null`, `{"a":"\"NODE_\""}`, "\v\"ready\"",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		fr := decode(line)
		switch fr.kind {
		case frameReady:
			var s string
			if json.Unmarshal(line, &s) != nil || s != "ready" {
				t.Fatalf("%q is ready", line)
			}
		case frameHandle, frameInternal:
			var m map[string]any
			if json.Unmarshal(line, &m) != nil || !strings.HasPrefix(fmt.Sprint(m["cmd"]), "NODE_") {
				t.Fatalf("%q is Node's own", line)
			}
			decode(fr.inner)
		case frameGarbage:
			if json.Valid(line) {
				t.Fatalf("%q is garbage", line)
			}
		}
	})
}

func TestUnreadIsWhatTheWorkerHasNotRead(t *testing.T) {
	r := open(t, Config{Node: true})
	w := r.hold(0)
	r.CloseChild()
	r.Start()
	if n := r.Unread(); n != 0 {
		t.Errorf("%d bytes unread of nothing", n)
	}
	if err := r.Send(t.Context(), "shutdown"); err != nil {
		t.Fatal(err)
	}
	if r.Unread() == 0 {
		t.Error("what nobody has read is not unread")
	}
	if _, err := w.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	if n := r.Unread(); n != 0 {
		t.Errorf("%d bytes unread of what was read", n)
	}
}
