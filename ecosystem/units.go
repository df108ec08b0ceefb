package ecosystem

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// MaxDuration bounds every duration of a file; more than this is a slip of the hand.
const MaxDuration = 30 * 24 * time.Hour

// MaxInstances bounds the workers of one app.
const MaxInstances = 4096

// parseDuration reads milliseconds (8000), or numbers with units: 500ms, 8s, 1m30s, 2h.
func parseDuration(text string) (time.Duration, error) {
	if strings.HasPrefix(text, "-") {
		return 0, fmt.Errorf("%s is negative: a duration is 0 or more", quote(text))
	}
	var total float64
	for rest := text; ; {
		number := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789."))]
		unit := rest[len(number):]
		unit = unit[:len(unit)-len(strings.TrimLeft(unit, "hms"))]
		rest = rest[len(number)+len(unit):]
		if unit == "" && number == text {
			unit = "ms" // pm2's plain numbers
		}
		n, err := strconv.ParseFloat(number, 64)
		if one := unitOf(unit); (err == nil || errors.Is(err, strconv.ErrRange)) && one > 0 {
			total += n * float64(one)
		} else {
			return 0, fmt.Errorf("%s is not a duration: write milliseconds (8000) or a unit (8s, 1m)", quote(text))
		}
		if rest == "" {
			break
		}
	}
	if total > float64(MaxDuration) {
		return 0, fmt.Errorf("%s is too long: at most %s", quote(text), showDuration(MaxDuration))
	}
	return time.Duration(math.Round(total)), nil
}

// unitOf returns how long one of a unit is, 0 if there is no such unit.
func unitOf(unit string) time.Duration {
	switch unit {
	case "ms":
		return time.Millisecond
	case "s":
		return time.Second
	case "m":
		return time.Minute
	case "h":
		return time.Hour
	}
	return 0
}

// showDuration writes a duration as a user would: 1.6s, 10m, 720h.
func showDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// parseSize reads bytes: 300M, 1G, 512K (of 1024), or a plain number.
func parseSize(text string) (int64, error) {
	number, shift := text, 0
	if text != "" {
		switch text[len(text)-1] {
		case 'K', 'k':
			shift = 10
		case 'M', 'm':
			shift = 20
		case 'G', 'g':
			shift = 30
		}
	}
	if shift > 0 {
		number = text[:len(text)-1]
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if errors.Is(err, strconv.ErrRange) || err == nil && n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("%s is too large", quote(text))
	}
	if err != nil || !digits(number) {
		return 0, fmt.Errorf("%s is not a size: write 300M, 1G, 512K or bytes", quote(text))
	}
	return n << shift, nil
}

// Instances reads a count as -i and the key instances take it: n, max or 0 for
// all usable cpus, -n for all but n. The result is at least 1.
func Instances(text string, cpus int) (int, error) {
	cpus = min(max(cpus, 1), MaxInstances)
	if text == "max" {
		return cpus, nil
	}
	n, err := strconv.Atoi(text)
	switch {
	case err != nil || strings.HasPrefix(text, "+"):
		return 0, fmt.Errorf("%s is not a number of instances: write n, max (all cpus), 0 (the same) or -n (all but n)", quote(text))
	case n > MaxInstances:
		return 0, fmt.Errorf("%d instances are too many: at most %d", n, MaxInstances)
	case n == 0:
		return cpus, nil
	case n < 0:
		return max(1, cpus+max(n, -cpus)), nil
	}
	return n, nil
}

// digits tells whether text is made of digits alone: strconv takes signs too.
func digits(text string) bool {
	for _, c := range []byte(text) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return text != ""
}
