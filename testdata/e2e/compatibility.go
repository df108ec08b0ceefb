package e2e

import (
	"fmt"
	"strings"
)

// Row is a server that runs unmodified, as the README's table of them has it. The tests
// go by the rows: TestReloadOfEveryKindOfServer runs each, in two workers, and holds
// what its receipts and the load say against it.
type Row struct {
	Name    string
	Keys    string // what its app needs beside script and instances, as written in the file
	ReadyBy string // of its receipts
	Stop    string // the stop signal
	// Fresh and Busy say what a reload costs on new connections, and on connections that
	// are kept alive and always busy.
	Fresh, Busy Loss
}

// Loss is what the load may count.
type Loss int

const (
	None   Loss = iota // no request, ever
	Unkept             // none, and no connection is kept: each answer ends its own
	Kept               // none, but the worker drains for as long as they are busy, at most kill_timeout
	Some               // the program ends idle connections at once: a request that is on its way to one is lost
)

// Rows is the table.
func Rows() []Row {
	return []Row{
		{"go net/http, with a drain", "", "listening", "SIGINT", None, None},
		{"go ready.Notify", "`wait_ready: true`", "READY_FD", "SIGINT", None, None},
		{"go LISTEN_FDS", "`listen`, `wait_ready: true`", "READY_FD", "SIGINT", None, None},
		{"go sd_notify and LISTEN_FDS", "`protocol: systemd`, `listen`, `wait_ready: true`", "NOTIFY_SOCKET", "SIGINT", None, None},
		{"tableflip, declared", "`protocol: tableflip`, `listen`", "tableflip", "SIGINT", None, None},
		{"tableflip, undeclared", "`protocol: tableflip`", "tableflip", "SIGINT", None, None},
		{"tableflip, unix socket", "`protocol: tableflip`, `listen`", "tableflip", "SIGINT", None, None},
		{"python http.server", "", "listening", "SIGINT", None, Unkept},
		{"python asyncio", "", "listening", "SIGINT", None, Unkept},
		{"python LISTEN_FDS", "`listen`", "inferred", "SIGINT", None, Unkept},
		{"python sd_notify", "`wait_ready: true`", "NOTIFY_SOCKET", "SIGINT", None, Unkept},
		{"python sd_notify and LISTEN_FDS", "`protocol: systemd`, `listen`, `wait_ready: true`", "NOTIFY_SOCKET", "SIGINT", None, Unkept},
		{"python unix socket", "`listen`", "listening", "SIGINT", None, Unkept},
		{"gunicorn", "`kill_signal: SIGTERM`", "listening", "SIGTERM", None, Unkept},
		{"uvicorn", "`kill_signal: SIGTERM`, `balance: even`", "listening", "SIGTERM", None, Kept},
		{"nginx", "`kill_signal: SIGQUIT`", "listening", "SIGQUIT", None, Some},
		{"node, no signal handler", "", "listening", "SIGINT", None, None},
		{"node portfinder", "`wait_ready: true`", "node ipc", "SIGINT", None, None},
		{"node get-port", "`wait_ready: true`", "node ipc", "SIGINT", None, None},
		{"node detect-port", "`wait_ready: true`", "node ipc", "SIGINT", None, None},
		{"node cluster", "`wait_ready: true`, `balance: even`", "node ipc", "SIGINT", None, None},
	}
}

func (l Loss) String() string {
	return [...]string{
		None:   "0",
		Unkept: "0 (it keeps none alive)",
		Kept:   "it waits for them, and cuts them at kill_timeout",
		Some:   "some: it ends idle ones at once",
	}[l]
}

// CompatibilityTable is the README's.
func CompatibilityTable() string {
	var b strings.Builder
	b.WriteString("| server | keys it needs | is ready | is told to stop | lost on new connections | on busy keep-alive |\n|---|---|---|---|---|---|\n")
	for _, r := range Rows() {
		keys := r.Keys
		if keys == "" {
			keys = "–"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", r.Name, keys, r.ReadyBy, r.Stop, r.Fresh, r.Busy)
	}
	return b.String()
}
