package shim

import (
	"math"
	"reflect"
	"slices"
	"syscall"
	"testing"
)

func TestOrderGoesRound(t *testing.T) {
	for _, o := range []Order{
		{Umask: -1},
		{Sock: 9, Filter: true, Unlink: true, ListenPID: true, Umask: 0o22, SetNice: true, Nice: -5, Dir: "/a b\nc"},
		{Umask: -1, Credential: &Credential{UID: 1, GID: -1}},
		{Umask: -1, Tracer: 4711, Dir: "1 2"},
		{Umask: -1, Tracer: -1},
		{Umask: -1, Credential: &Credential{UID: -1, GID: 3, Groups: []int{}}, Dir: "x"},
		{Umask: -1, Credential: &Credential{UID: 1, GID: 2, Groups: []int{3, 4}}, Limits: []Limit{{7, 1, math.MaxUint64}, {4, math.MaxUint64, math.MaxUint64}}, Dir: " "},
	} {
		got, err := decodeOrder(o.Encode())
		if err != nil || !reflect.DeepEqual(got, o) {
			t.Errorf("%q gives %+v, %v; want %+v", o.Encode(), got, err, o)
		}
	}
}

func FuzzDecodeOrder(f *testing.F) {
	f.Add((&Order{Umask: -1}).Encode())
	f.Add((&Order{Umask: 1, Credential: &Credential{Groups: []int{1}}, Limits: []Limit{{1, 2, 3}}, Dir: "/"}).Encode())
	f.Add("1 1 1 1 1 1 1 1 1 1 1 99999999 ")
	f.Fuzz(func(t *testing.T, s string) {
		o, err := decodeOrder(s)
		if err != nil {
			return
		}
		if again, err := decodeOrder(o.Encode()); err != nil || !reflect.DeepEqual(again, o) {
			t.Errorf("%q gives %+v, and that %+v, %v", s, o, again, err)
		}
	})
}

func FuzzDecodeMessage(f *testing.F) {
	f.Add(Hello{FilterFailed, syscall.EBUSY}.encode())
	f.Add(Failure{StageNice, syscall.EACCES, -20}.encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, failed := DecodeMessage(b)
		if h != nil && !slices.Equal(h.encode(), b) {
			t.Errorf("%v gives %+v", b, h)
		}
		if failed != nil && !slices.Equal(failed.encode(), b) {
			t.Errorf("%v gives %+v", b, failed)
		}
	})
}

func FuzzVeil(f *testing.F) {
	f.Add("GODEBUG=x", "_GOGC=")
	f.Add("____GOGC", "_")
	f.Fuzz(func(t *testing.T, a, b string) {
		env := []string{a, b}
		veiled := VeilEnv(env)
		for _, entry := range veiled[len(shimVariables):] {
			if isRuntimeVariable(entry) && entry[0] != veil {
				t.Errorf("the shim's runtime sees %q", entry)
			}
		}
		if got := unveilEnv(veiled); !slices.Equal(got, env) {
			t.Errorf("%q comes back as %q", env, got)
		}
	})
}
