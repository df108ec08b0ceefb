package ecosystem

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"supervisor/signals"
	"supervisor/supervisor/logs/stamp"
	"supervisor/supervisor/state"
)

const (
	defaultSignal = int(syscall.SIGINT)
	maxRestarts   = 1_000_000
	maxBackoff    = 15 * time.Second // DESIGN section 3: the delay's cap
	maxPercent    = 100
	maxExitCode   = 255
	maxPort       = 65535
	maxLogFiles   = 1000
	minLogSize    = 4 << 10
	devNull       = "/dev/null"
	never         = -1 // of state.Log: 0 would be the log writer's own default
)

func readInstances(v value) {
	if v.n.kind != scalar || !v.n.integer() && v.n.tag != "!!str" {
		v.expects("a number, max, 0 or -n")
		return
	}
	text := v.n.text
	if i, ok := v.n.parseInt(); ok {
		text = strconv.FormatInt(i, 10)
	}
	n, err := Instances(text, v.a.options.CPUs)
	if err != nil {
		v.fail("%v", err)
		return
	}
	v.a.spec.Instances = n
}

func readMode(v value) {
	switch v.word("cluster", "cluster_mode", "fork", "fork_mode") {
	case "cluster", "cluster_mode":
		v.a.spec.Mode = state.Cluster
	case "fork", "fork_mode":
		v.a.spec.Mode = state.Fork
	}
}

func readProtocol(v value) {
	if word := v.word("auto", "none", "systemd", "node", "tableflip"); word != "" {
		v.a.spec.Protocol = state.Protocol(word)
	}
}

func readBalance(v value) {
	if word := v.word("shared", "even"); word != "" {
		v.a.spec.Balance = state.Balance(word)
	}
}

func readSoak(v value) {
	soak := time.Duration(-1)
	v.duration(&soak, 0, MaxDuration)
	if soak >= 0 {
		v.a.spec.Soak = &soak
	}
}

func readSignal(v value) {
	if v.n.kind != scalar || !v.n.integer() && v.n.tag != "!!str" {
		v.expects("a signal (SIGTERM, TERM or 15)")
		return
	}
	sig, err := signals.Parse(v.n.text)
	switch {
	case err != nil:
		v.fail("%v", err)
	case !signals.Catchable(sig):
		v.fail("a program can't catch %s, so that it could not drain: write another, %s comes at kill_timeout by itself", signals.Name(sig), "SIGKILL")
	default:
		v.a.spec.KillSignal = int(sig)
	}
}

func readTreeKill(v value) {
	switch {
	case v.n.kind == scalar && v.n.text == "auto":
		v.a.spec.TreeKill = state.TreeAuto
	case v.n.kind == scalar && v.n.tag == "!!bool" && strings.EqualFold(v.n.text, "true"):
		v.a.spec.TreeKill = state.TreeAll
	case v.n.kind == scalar && v.n.tag == "!!bool":
		v.a.spec.TreeKill = state.TreeMain
	default:
		v.expects("auto, true or false")
	}
}

func readExitCodes(v value) {
	if v.n.integer() {
		code := -1
		if v.int(&code, 0, maxExitCode); code >= 0 {
			v.a.spec.StopExitCodes = []int{code}
		}
		return
	}
	if v.n.kind != list {
		v.expects("an exit code or a list of them")
		return
	}
	var codes []int
	for i := range v.n.items {
		code := -1
		if v.item(i).int(&code, 0, maxExitCode); code >= 0 {
			codes = append(codes, code)
		}
	}
	slices.Sort(codes)
	v.a.spec.StopExitCodes = slices.Compact(codes)
}

func readLog(v value) {
	log := &v.a.spec.Log
	if v.n.kind == scalar && !v.n.null() { // pm2's alias of log_file
		if !off(v.n) {
			v.fail("one file for out and error (pm2's log_file) %s; for rotation write a map: max_size, max_files, compress", notYet("as log"))
		}
		return
	}
	v.fields([]string{"max_size", "max_files", "compress"}, func(key string, v value) {
		switch key {
		case "max_size":
			var size int64
			switch ok := v.size(&size); {
			case ok && size == 0:
				log.MaxSize = never
			case ok && size < minLogSize:
				v.fail("%s is too small: at least 4K, or 0 for no rotation", v.n.show())
			case ok:
				log.MaxSize = size
			}
		case "max_files":
			if v.int(&log.MaxFiles, 0, maxLogFiles); log.MaxFiles == 0 {
				log.MaxFiles = never
			}
		case "compress":
			v.bool(&log.Compress)
		}
	})
}

func readLogType(v value) {
	if off(v.n) {
		return
	}
	if v.word("raw", "json") == "json" {
		v.a.spec.LogType = state.LogJSON
	}
}

func readDateFormat(v value) {
	var format string
	if off(v.n) || !v.text(&format) {
		return
	}
	if _, err := stamp.Parse(format); err != nil {
		v.fail("%s %v", v.n.show(), err)
		return
	}
	v.a.spec.LogDateFormat = format
}

// file reads the path of a log file, relative to cwd.
func (v value) file(into *string) {
	if v.n.kind == scalar && v.n.null() && v.n.text != "NULL" {
		v.expects("a file, or /dev/null")
		return
	}
	if v.n.kind == scalar && (v.n.text == "NULL" || v.n.text == devNull) {
		*into = devNull
		return
	}
	var text string
	if v.text(&text) {
		*into = absolute(v.a.spec.Cwd, text)
	}
}

func readReload(v value) {
	r := &v.a.spec.Reload
	v.fields([]string{"strategy", "max_surge", "max_unavailable", "on_timeout"}, func(key string, v value) {
		switch key {
		case "strategy":
			r.BlueGreen = v.word("rolling", "blue-green") == "blue-green"
		case "max_surge":
			v.amount(&r.MaxSurge)
		case "max_unavailable":
			v.amount(&r.MaxUnavailable)
		case "on_timeout":
			r.Force = v.word("abort", "force") == "force"
		}
	})
}

// amount reads a number of workers, or a share as N%.
func (v value) amount(into *state.Amount) {
	if v.n.integer() {
		v.int(&into.N, 0, MaxInstances)
		into.Percent = false
		return
	}
	number, percent := strings.CutSuffix(v.n.text, "%")
	n, err := strconv.Atoi(number)
	if v.n.kind != scalar || !percent || err != nil || !digits(number) {
		v.expects("a number of workers, or a share (50%)")
		return
	}
	if n > maxPercent {
		v.fail("%s is too much: at most %d%%", v.n.show(), maxPercent)
		return
	}
	*into = state.Amount{N: n, Percent: true}
}

// reload checks what the mode and the strategy leave open, and fills in what
// they say by definition (DESIGN section 4).
func (a *app) reload() {
	r := &a.spec.Reload
	written := func(key string) *value {
		v := a.at("reload")
		if v == nil || v.n.get(key) == nil {
			return nil
		}
		return &value{a, v.n.get(key), join(v.path, key), ""}
	}
	surge, unavailable, strategy := written("max_surge"), written("max_unavailable"), written("strategy")
	switch {
	case a.spec.Mode == state.Fork:
		if surge != nil && r.MaxSurge.N != 0 {
			surge.fail("exec_mode: fork stops a worker before it starts the next: there is no surge")
		}
		if unavailable != nil && (r.MaxUnavailable.N != 1 || r.MaxUnavailable.Percent) {
			unavailable.fail("exec_mode: fork replaces one worker after the other: max_unavailable is 1")
		}
		if strategy != nil && r.BlueGreen {
			strategy.fail("exec_mode: fork stops a worker before it starts the next: blue-green needs cluster")
		}
		r.BlueGreen, r.MaxSurge, r.MaxUnavailable = false, state.Amount{}, state.Amount{N: 1}
	case r.BlueGreen:
		whole := state.Amount{N: maxPercent, Percent: true}
		if surge != nil && r.MaxSurge != whole {
			surge.fail("strategy: blue-green starts all the new workers first: max_surge is 100%%")
		}
		if unavailable != nil && r.MaxUnavailable.N != 0 {
			unavailable.fail("strategy: blue-green keeps all the old workers until the new are ready: max_unavailable is 0")
		}
		r.MaxSurge, r.MaxUnavailable = whole, state.Amount{}
	case r.MaxSurge.N == 0 && r.MaxUnavailable.N == 0 && surge != nil:
		surge.fail("max_surge 0 with max_unavailable 0 leaves no way to replace a worker: raise one of them")
	}
}

// variable reads the name of an environment variable.
func (v value) variable(into *string) {
	var text string
	if !v.text(&text) {
		return
	}
	if wrong := wrongVariable(text); wrong != "" {
		v.fail("%s", wrong)
		return
	}
	*into = text
}

func readPort(v value) {
	port := 0
	if v.int(&port, 1, maxPort); port > 0 {
		v.a.port = &node{kind: scalar, tag: "!!int", text: strconv.Itoa(port), line: v.n.line, col: v.n.col}
	}
}

func readFilterEnv(v value) {
	if v.n.kind == scalar && v.n.tag == "!!bool" {
		v.bool(&v.a.spec.FilterEnv.All)
		return
	}
	var parts []string
	switch v.n.kind {
	case list:
		v.words(&parts)
	case scalar:
		var text string
		if !v.text(&text) {
			return
		}
		parts = []string{text}
	default:
		v.expects("true, false, a text or a list of texts")
		return
	}
	if slices.Contains(parts, "") {
		v.fail("an empty text is part of every name: write true to pass nothing on")
		return
	}
	v.a.spec.FilterEnv.Contains = parts
}

// account reads a user or a group: a name or an id.
func (v value) account(into *string) {
	const maxID = 1<<32 - 2 // 1<<32 - 1 is "no change" to setuid(2)
	if i, ok := v.n.parseInt(); ok {
		if i < 0 || i > maxID {
			v.fail("%s is not an id: a number from 0 to %d", v.n.show(), maxID)
			return
		}
		*into = strconv.FormatInt(i, 10)
		return
	}
	var text string
	if !v.text(&text) {
		return
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == ':' || r == '/' || r == 0x7f }) || text[0] == '-' {
		v.fail("%s is neither a name nor an id", v.n.show())
		return
	}
	*into = text
}

func readUmask(v value) {
	const highest = 0o777
	text := v.n.text
	octal := strings.TrimPrefix(text, "0o")
	n, err := strconv.ParseUint(octal, 8, 32)
	switch {
	case v.n.kind != scalar || v.n.null() || err != nil || n > highest || !digits(octal):
		v.expects(`octal permissions from "000" to "777"`)
	case v.n.integer() && text[0] != '0':
		v.fail("%s without quotes is a decimal number: write %q or 0o%s", text, fmt.Sprintf("%03o", n), text)
	default:
		mask := int(n)
		v.a.spec.Umask = &mask
	}
}

func readNice(v value) {
	const lowest, highest = -20, 19
	n := highest + 1
	if v.int(&n, lowest, highest); n <= highest {
		v.a.spec.Nice = &n
	}
}
