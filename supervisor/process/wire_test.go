package process

import (
	"reflect"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOrderGoesRound(t *testing.T) {
	for _, o := range []order{
		{umask: -1},
		{sock: 9, filter: FilterUnlink, listenPID: true, umask: 0o22, setNice: true, nice: -5, dir: "/a b\nc"},
		{umask: -1, credential: &Credential{UID: 1, GID: -1}},
		{umask: -1, credential: &Credential{UID: -1, GID: 3, Groups: []int{}}, dir: "x"},
		{umask: -1, credential: &Credential{UID: 1, GID: 2, Groups: []int{3, 4}}, limits: []Limit{{7, 1, Unlimited}, {4, Unlimited, Unlimited}}, dir: " "},
	} {
		got, err := decodeOrder(o.encode())
		if err != nil || !reflect.DeepEqual(got, o) {
			t.Errorf("%q gives %+v, %v; want %+v", o.encode(), got, err, o)
		}
	}
}

func FuzzDecodeOrder(f *testing.F) {
	f.Add((&order{umask: -1}).encode())
	f.Add((&order{umask: 1, credential: &Credential{Groups: []int{1}}, limits: []Limit{{1, 2, 3}}, dir: "/"}).encode())
	f.Add("1 1 1 1 1 1 1 1 1 1 99999999 ")
	f.Fuzz(func(t *testing.T, s string) {
		o, err := decodeOrder(s)
		if err != nil {
			return
		}
		if again, err := decodeOrder(o.encode()); err != nil || !reflect.DeepEqual(again, o) {
			t.Errorf("%q gives %+v, and that %+v, %v", s, o, again, err)
		}
	})
}

func FuzzDecodeMessage(f *testing.F) {
	f.Add(hello{filterFailed, unix.EBUSY}.encode())
	f.Add(failure{StageNice, unix.EACCES, -20}.encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, failed := decodeMessage(b)
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
		veiled := veilEnv(env)
		for _, entry := range veiled[len(shimVariables):] {
			if isRuntimeVariable(entry) && entry[:1] != veil {
				t.Errorf("the shim's runtime sees %q", entry)
			}
		}
		if got := unveilEnv(veiled); !slices.Equal(got, env) {
			t.Errorf("%q comes back as %q", env, got)
		}
	})
}
