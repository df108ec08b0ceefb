package notify

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

func text(s string) *string { return &s }

func TestParse(t *testing.T) {
	status := uint8(3)
	for _, c := range []struct {
		name, in string
		want     Message
		err      error
	}{
		{"ready", "READY=1", Message{Ready: true}, nil},
		{"newline at the end", "READY=1\n", Message{Ready: true}, nil},
		{"NUL at the end", "READY=1\n\x00", Message{Ready: true}, nil},
		{"several", "STATUS=warming up\nREADY=1\nMAINPID=42", Message{Ready: true, Status: text("warming up"), MainPID: 42}, nil},
		{"status with =", "STATUS=a=b", Message{Status: text("a=b")}, nil},
		{"status cleared", "STATUS=", Message{Status: text("")}, nil},
		{"status not UTF-8", "STATUS=\xff", Message{Other: []Var{{"STATUS", "\xff"}}}, nil},
		{"reload", "RELOADING=1\nMONOTONIC_USEC=5000000", Message{Reloading: true, Monotonic: 5 * time.Second}, nil},
		{"stopping", "STOPPING=1", Message{Stopping: true}, nil},
		{"watchdog", "WATCHDOG=1", Message{Watchdog: WatchdogPing}, nil},
		{"watchdog trigger", "WATCHDOG=trigger", Message{Watchdog: WatchdogTrigger}, nil},
		{"new watchdog timeout", "WATCHDOG_USEC=20000000", Message{WatchdogEvery: 20 * time.Second}, nil},
		{"extend", "EXTEND_TIMEOUT_USEC=1500000", Message{ExtendTimeout: 1500 * time.Millisecond}, nil},
		{"extend for ever", "EXTEND_TIMEOUT_USEC=18446744073709551615", Message{ExtendTimeout: math.MaxInt64 / 1000 * 1000}, nil},
		{"extend beyond 64 bits", "EXTEND_TIMEOUT_USEC=18446744073709551616", Message{Other: []Var{{"EXTEND_TIMEOUT_USEC", "18446744073709551616"}}}, nil},
		{"negative", "EXTEND_TIMEOUT_USEC=-1", Message{Other: []Var{{"EXTEND_TIMEOUT_USEC", "-1"}}}, nil},
		{"a store", "FDSTORE=1\nFDNAME=w12.o\nFDPOLL=0", Message{FDStore: true, FDName: "w12.o", FDNoPoll: true}, nil},
		{"out of the store", "FDSTOREREMOVE=1\nFDNAME=w12.o", Message{FDStoreRemove: true, FDName: "w12.o"}, nil},
		{"barrier", "BARRIER=1", Message{Barrier: true}, nil},
		{"exit", "EXIT_STATUS=3\nERRNO=2", Message{ExitStatus: &status, Errno: 2}, nil},
		{"not ready", "READY=0", Message{Other: []Var{{"READY", "0"}}}, nil},
		{"private", "X_END=2", Message{Other: []Var{{"X_END", "2"}}}, nil},
		{"a bad line beside a good one", "what\nREADY=1\n=x\nA B=1", Message{Ready: true}, nil},
		{"pid zero", "MAINPID=0", Message{Other: []Var{{"MAINPID", "0"}}}, nil},
		{"the last counts", "MAINPID=1\nMAINPID=2", Message{MainPID: 2}, nil},
		{"empty", "", Message{}, ErrGarbage},
		{"garbage", "ready\n", Message{}, ErrGarbage},
		{"NUL", "READY=1\x00\nSTATUS=x", Message{}, ErrNUL},
		{"too long", "STATUS=" + strings.Repeat("x", MaxDatagram), Message{}, ErrTooLong},
		{"too many", strings.Repeat("A=\n", MaxVars+1), Message{}, ErrTooMany},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse([]byte(c.in))
			if !errors.Is(err, c.err) || !reflect.DeepEqual(got, c.want) {
				t.Fatalf("Parse(%q) = %+v, %v; want %+v, %v", c.in, got, err, c.want, c.err)
			}
		})
	}
}

func TestFormatRefuses(t *testing.T) {
	for name, m := range map[string]Message{
		"nothing":           {},
		"newline in status": {Status: text("a\nREADY=1")},
		"newline in name":   {FDName: "a\nb"},
		"NUL":               {Status: text("a\x00")},
		"name of a var":     {Other: []Var{{"A=B\nREADY", "1"}}},
		"too long":          {Status: text(strings.Repeat("x", MaxDatagram))},
	} {
		if b, err := Format(m); err == nil {
			t.Errorf("%s: Format = %q, want an error", name, b)
		}
	}
	b, err := Format(Message{Ready: true, MainPID: 7, Other: []Var{{"X_END", "0"}}})
	if err != nil || string(b) != "READY=1\nMAINPID=7\nX_END=0" {
		t.Errorf("Format = %q, %v", b, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"READY=1", "STATUS=a\nREADY=1\n", "EXTEND_TIMEOUT_USEC=99999999999999999999", "FDNAME=\nFDNAME=a",
		"MAINPID=4294967296\nERRNO=-1", "STATUS=\xff\xfe", "\x00", "=\n==", "EXIT_STATUS=256\nWATCHDOG=2",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		m, err := Parse(p)
		if err != nil {
			if !reflect.DeepEqual(m, Message{}) {
				t.Fatalf("Parse(%q): %+v beside the error %v", p, m, err)
			}
			return
		}
		if m.ExtendTimeout < 0 || m.MainPID < 0 || len(m.Other) > MaxVars {
			t.Fatalf("Parse(%q) = %+v", p, m)
		}
		b, err := Format(m)
		if err != nil {
			t.Fatalf("Format(Parse(%q)): %v", p, err)
		}
		again, err := Parse(b)
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Fatalf("Parse(Format(m)) = %+v, %v; want %+v", again, err, m)
		}
	})
}
