package ecosystem

import (
	"strings"
	"testing"
	"time"
)

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "8000": 8 * time.Second, "8s": 8 * time.Second, "1m": time.Minute, "500ms": 500 * time.Millisecond,
		"1m30s": 90 * time.Second, "2h": 2 * time.Hour, "1.6s": 1600 * time.Millisecond, ".5s": 500 * time.Millisecond, "720h": MaxDuration,
	} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"":                                    "is not a duration: write milliseconds (8000) or a unit (8s, 1m)",
		"8 s":                                 "is not a duration",
		"8 sec":                               "is not a duration",
		"8sec":                                "is not a duration",
		"s":                                   "is not a duration",
		"1.2.3s":                              "is not a duration",
		"1s5":                                 "is not a duration",
		"1us":                                 "is not a duration",
		"+1s":                                 "is not a duration",
		"1d":                                  "is not a duration",
		"１s":                                  "is not a duration",
		"-1s":                                 "is negative",
		"-5":                                  "is negative",
		"721h":                                "is too long: at most 720h",
		"9999999999":                          "is too long",
		strings.Repeat("9", 500) + "s":        "is too long",
		"9223372036854775807m":                "is too long",
		"99999999999999999999999999999999999": "is too long",
	} {
		if got, err := parseDuration(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %s, %v; want %s", text, got, err, want)
		}
	}
	for d, want := range map[time.Duration]string{MaxDuration: "720h", 90 * time.Second: "1m30s", time.Minute: "1m", time.Millisecond: "1ms", 10 * time.Second: "10s", 3700 * time.Second: "1h1m40s"} {
		if got := showDuration(d); got != want {
			t.Errorf("%v is shown as %s, want %s", d, got, want)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "1024": 1024, "512K": 512 << 10, "300M": 300 << 20, "1G": 1 << 30, "1g": 1 << 30} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "M", "1.5G", "-1M", "+1", "500MB", "1 M", "1T", "9999999999999G", "99999999999999999999"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%s: %d", text, got)
		}
	}
}

func TestInstances(t *testing.T) {
	for _, c := range []struct {
		text string
		cpus int
		want int
	}{
		{"1", 8, 1}, {"16", 8, 16}, {"max", 8, 8}, {"0", 8, 8}, {"-1", 8, 7}, {"-8", 8, 1}, {"-9999999999", 8, 0}, {"-100", 8, 1},
		{"max", 0, 1}, {"0", -3, 1}, {"-1", 1, 1}, {"4096", 1, 4096}, {"4097", 1, 0}, {"", 8, 1 << 30}, {"two", 8, 1 << 30}, {"+2", 8, 1 << 30}, {"1.5", 8, 1 << 30},
	} {
		got, err := Instances(c.text, c.cpus)
		switch {
		case c.want == 1<<30 || c.text == "4097":
			if err == nil {
				t.Errorf("%q: %d", c.text, got)
			}
		case c.want == 0:
			if err != nil || got != 1 {
				t.Errorf("%q: %d, %v", c.text, got, err)
			}
		case err != nil || got != c.want:
			t.Errorf("%q of %d: %d, %v; want %d", c.text, c.cpus, got, err, c.want)
		}
	}
}

func FuzzDuration(f *testing.F) {
	for _, text := range []string{"8000", "8s", "1m30s", "1.6s", "-1", "720h", "1e9s", "..s", "9h9h"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parseDuration(text)
		if err != nil {
			return
		}
		if d < 0 || d > MaxDuration {
			t.Fatalf("%q is %v", text, d)
		}
		again, err := parseDuration(showDuration(d.Truncate(time.Millisecond)))
		if err != nil || again != d.Truncate(time.Millisecond) {
			t.Fatalf("%q: %v is shown as %s, which is %v, %v", text, d, showDuration(d), again, err)
		}
	})
}

func FuzzSize(f *testing.F) {
	for _, text := range []string{"0", "300M", "1G", "512k", "M", "-1", "99999999999G"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if n, err := parseSize(text); err == nil && n < 0 {
			t.Fatalf("%q is %d", text, n)
		}
	})
}
