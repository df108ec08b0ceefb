package logs

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func formatOf(t testing.TB, f Format) *formatter {
	t.Helper()
	r, err := newFormatter(f, Worker{App: `we"b`, Slot: 3}, Stderr)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestFormats(t *testing.T) {
	at := time.Date(2026, 3, 4, 15, 6, 7, 89_000_000, time.UTC)
	const raw = "one\n\nthree \"\\\x1b\xff é\r\nope"
	for _, c := range []struct {
		format Format
		goesOn bool
		want   string
	}{
		{Format{}, false, raw},
		{Format{DateFormat: "HH:mm"}, false, "15:06: one\n15:06: \n15:06: three \"\\\x1b\xff é\r\n15:06: ope"},
		{Format{DateFormat: "HH:mm"}, true, "one\n15:06: \n15:06: three \"\\\x1b\xff é\r\n15:06: ope"},
		{Format{JSON: true}, false, "" +
			`{"message":"one","timestamp":"2026-03-04T15:06:07.089Z","type":"err","process_id":3,"app_name":"we\"b"}` + "\n" +
			`{"message":"","timestamp":"2026-03-04T15:06:07.089Z","type":"err","process_id":3,"app_name":"we\"b"}` + "\n" +
			`{"message":"three \"\\\u001b` + "\ufffd" + ` é\r","timestamp":"2026-03-04T15:06:07.089Z","type":"err","process_id":3,"app_name":"we\"b"}` + "\n" +
			`{"message":"ope","timestamp":"2026-03-04T15:06:07.089Z","type":"err","process_id":3,"app_name":"we\"b"}` + "\n"},
	} {
		got, n := formatOf(t, c.format).lines(nil, []byte(raw), at, c.goesOn, math.MaxInt)
		if string(got) != c.want || n != len(raw) {
			t.Errorf("%+v: %d of %d bytes\n%s\nwant\n%s", c.format, n, len(raw), got, c.want)
		}
	}
	got, n := formatOf(t, Format{DateFormat: "HH:mm", JSON: true}).lines(nil, []byte("x\n"), at, false, 0)
	if n != 2 || !bytes.Contains(got, []byte(`"timestamp":"15:06"`)) {
		t.Errorf("%d %s", n, got)
	}
	if _, err := newFormatter(Format{DateFormat: "Do"}, Worker{}, Stdout); err == nil || !strings.Contains(err.Error(), `"Do"`) {
		t.Error(err)
	}
}

// A budget cuts between lines, and what is cut goes on the same.
func FuzzFormat(f *testing.F) {
	f.Add([]byte("one\ntwo\nthree"), 10, true)
	f.Add([]byte("\n\xff\n\x00\"\\\n"), 0, false)
	f.Fuzz(func(t *testing.T, raw []byte, budget int, isJSON bool) {
		r := formatOf(t, Format{DateFormat: "HH", JSON: isJSON})
		whole, n := r.lines(nil, raw, time.Time{}, false, math.MaxInt)
		if n != len(raw) {
			t.Fatalf("%d of %d bytes", n, len(raw))
		}
		var parts []byte
		for rest := raw; len(rest) > 0; {
			part, n := r.lines(nil, rest, time.Time{}, false, budget)
			if n <= 0 || n < len(rest) && rest[n-1] != '\n' {
				t.Fatalf("%d bytes of %q", n, rest)
			}
			if again, m := r.lines(nil, rest[:n], time.Time{}, false, math.MaxInt); m != n || !bytes.Equal(again, part) {
				t.Fatalf("%q, then %q", part, again)
			}
			parts, rest = append(parts, part...), rest[n:]
		}
		if !bytes.Equal(parts, whole) {
			t.Errorf("%q, whole %q", parts, whole)
		}
		if !isJSON {
			return
		}
		lines := bytes.Split(bytes.TrimSuffix(raw, []byte{'\n'}), []byte{'\n'})
		for i, object := range bytes.Split(bytes.TrimSuffix(whole, []byte{'\n'}), []byte{'\n'}) {
			if len(object) == 0 {
				continue
			}
			var got struct {
				Message string `json:"message"`
			}
			if err := json.Unmarshal(object, &got); err != nil {
				t.Fatalf("%s: %v", object, err)
			}
			if want := string(bytes.ToValidUTF8(lines[i], nil)); utf8.Valid(lines[i]) && got.Message != want {
				t.Errorf("%q, want %q", got.Message, want)
			}
		}
	})
}

func TestWholeRunes(t *testing.T) {
	for in, want := range map[string]string{"": "", "a": "a", "aé": "aé", "a\xc3": "a", "a\xe2\x82": "a", "a€": "a€", "a\xff": "a\xff", "a\xf0\x9f\x98": "a", "\x80\x80\x80\x80": "\x80\x80\x80\x80"} {
		if got := string(wholeRunes([]byte(in))); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
