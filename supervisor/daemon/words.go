package daemon

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"supervisor/ecosystem"
	"supervisor/signals"
)

// scaled reads the count of scale: N, +N, -N or max, from what there is.
func scaled(text string, now int) (int, error) {
	if strings.HasPrefix(text, "+") || strings.HasPrefix(text, "-") {
		by, err := strconv.Atoi(text)
		if err != nil {
			return 0, fmt.Errorf("%q is no number", text)
		}
		to := now + by
		if to < 1 || to > ecosystem.MaxInstances {
			return 0, fmt.Errorf("%d instances and %s make %d: between 1 and %d can run (stop ends an app)", now, text, to, ecosystem.MaxInstances)
		}
		return to, nil
	}
	return ecosystem.Instances(text, usableCPUs())
}

func parseSignal(text string) (int, error) {
	sig, err := signals.Parse(text)
	return int(sig), err
}

// signalName is "" for none.
func signalName(sig int) string {
	if sig == 0 {
		return ""
	}
	return signals.Name(syscall.Signal(sig))
}
