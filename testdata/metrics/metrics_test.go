// Package metrics_test reads what package supervisor/metrics writes by Prometheus' own
// parser, and holds it against Prometheus' own rules for names.
package metrics_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"supervisor/supervisor/metrics"
	"supervisor/supervisor/state"
)

// page is what is written of an app in which everything has happened.
func page(app string) []byte {
	c := metrics.NewCounts()
	noon := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for i, what := range []string{state.WhatSpawned, state.WhatReady, state.WhatDraining, state.WhatKilled, state.WhatGone} {
		c.Learn(state.Event{Kind: state.EventWorker, App: app, Worker: 1, What: what, Time: noon.Add(time.Duration(i) * time.Second)})
	}
	c.Learn(state.Event{Kind: state.EventReload, App: app, Receipt: &state.Receipt{Result: state.RolledBack, DurationMS: 80, ConnectionsCut: 2}})
	three, max, drops := 3, 128, int64(9)
	return metrics.Now{
		Snapshot: state.Snapshot{
			Daemon: state.DaemonInfo{Version: "1", UptimeMS: 1500},
			Apps:   []state.App{{Name: app, Want: state.Up, Instances: 2, Workers: []state.Worker{{State: "online"}}}, {Name: "other" + app}},
		},
		Counts: c, Go: "go1.26",
		Listeners: []metrics.Listener{{App: app, Addr: "tcp://[::]:80", Queue: &three, Max: &max, Drops: &drops}, {App: app, Addr: "unix:/x"}},
	}.Write()
}

func parse(t *testing.T, text []byte) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return families
}

// of is the sample of an app in a family.
func of(t *testing.T, families map[string]*dto.MetricFamily, name, app string) *dto.Metric {
	t.Helper()
	for _, m := range families[name].GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == "app" && l.GetValue() == app {
				return m
			}
		}
	}
	t.Fatalf("%s has no sample of %q", name, app)
	return nil
}

func TestPrometheusReadsWhatIsWritten(t *testing.T) {
	text := page("web")
	families := parse(t, text)
	if got := strings.Count(string(text), "# TYPE "); got != len(families) || got < 15 {
		t.Errorf("%d families are written, %d read", got, len(families))
	}
	for name, f := range families {
		if f.GetType() == dto.MetricType_UNTYPED || f.GetHelp() == "" {
			t.Errorf("%s has no type or help", name)
		}
	}
	h := of(t, families, "supervisor_worker_drain_seconds", "web").GetHistogram()
	buckets := h.GetBucket()
	if h.GetSampleCount() != 1 || h.GetSampleSum() != 2 || buckets[len(buckets)-1].GetCumulativeCount() != 1 || buckets[0].GetCumulativeCount() != 0 {
		t.Errorf("a drain of 2 s is %v", h)
	}
	for i := 1; i < len(buckets); i++ {
		if buckets[i].GetUpperBound() <= buckets[i-1].GetUpperBound() || buckets[i].GetCumulativeCount() < buckets[i-1].GetCumulativeCount() {
			t.Errorf("bucket %d is not above the one before it: %v", i, buckets)
		}
	}
	if got := of(t, families, "supervisor_listener_drops_total", "web").GetCounter().GetValue(); got != 9 {
		t.Errorf("%v drops", got)
	}
}

func TestNamesFollowPrometheusRules(t *testing.T) {
	problems, err := promlint.New(bytes.NewReader(page("web"))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// Whatever an app is called, it is called so there.
func FuzzNamesComeBack(f *testing.F) {
	for _, name := range []string{"web", `a"b\c`, "a\nb", "é ☃", `\`, `\n`, "{}", "a=\"b\",", "\xff", "\x00", " "} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		of(t, parse(t, page(name)), "supervisor_worker_kills_total", strings.ToValidUTF8(name, "\ufffd"))
	})
}
