package stamp

import (
	"strings"
	"testing"
	"time"
)

// Day.js 1.11 writes the same, but for [], S, X and x, which it has not without a plugin.
func TestFormat(t *testing.T) {
	at := time.Date(2026, 3, 4, 15, 6, 7, 89_012_345, time.FixedZone("", -(3*3600+1800)))
	for format, want := range map[string]string{
		Default:                      "2026-03-04T15:06:07",
		"YYYY-MM-DD HH:mm:ss Z":      "2026-03-04 15:06:07 -03:30",
		"YYYY-MM-DD HH:mm:ss.SSS ZZ": "2026-03-04 15:06:07.089 -0330",
		"YY/M/D H:m:s":               "26/3/4 15:6:7",
		"dddd ddd dd d":              "Wednesday Wed We 3",
		"MMMM MMM":                   "March Mar",
		"hh h A a":                   "03 3 PM pm",
		"[YYYY]YYYY[]":               "YYYY2026",
		"X x":                        "1772649367 1772649367089",
		"S SSSSSS":                   "0 089012",
		"DD.MM.YYYY 年":               "04.03.2026 年",
		"":                           "",
	} {
		f, err := Parse(format)
		if err != nil {
			t.Errorf("%q: %v", format, err)
		} else if got := string(f.Append(nil, at)); got != want {
			t.Errorf("%q: %q, want %q", format, got, want)
		}
	}
	midnight, _ := Parse("hh:mm a")
	if got := string(midnight.Append(nil, time.Date(987, 1, 1, 0, 0, 0, 0, time.UTC))); got != "12:00 am" {
		t.Errorf("midnight: %q", got)
	}
	if year, _ := Parse("YYYY"); string(year.Append(nil, time.Date(987, 1, 1, 0, 0, 0, 0, time.UTC))) != "0987" {
		t.Error("a year of three digits")
	}
}

func TestParseRefuses(t *testing.T) {
	for format, want := range map[string]string{
		"Do MMM":                         `"o"`,
		"YYY":                            `"YYY"`,
		"DDDD":                           `"DDDD"`,
		"YYYY at HH":                     `"t"`,
		"L LT":                           `"L"`,
		"[YYYY":                          "without its ]",
		"[\n]":                           "byte 1",
		"YYYY\nMM":                       "byte 4",
		"\xff":                           "byte 0",
		strings.Repeat("-", MaxFormat+1): "longer",
	} {
		if _, err := Parse(format); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", format, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("YYYY-MM-DD HH:mm:ss.SSS Z", int64(0))
	f.Add("[x", int64(-1<<60))
	f.Fuzz(func(t *testing.T, format string, ns int64) {
		parsed, err := Parse(format)
		if err != nil {
			return
		}
		at := time.Unix(0, ns)
		got := string(parsed.Append(nil, at))
		if strings.ContainsAny(got, "\n\r\x00") {
			t.Errorf("%q: %q", format, got)
		}
		if again := string(parsed.Append(nil, at)); again != got {
			t.Errorf("%q, then %q", got, again)
		}
	})
}
