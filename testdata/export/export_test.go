// Package export_test reads what package supervisor/export writes as the clusters do: into
// the types of Kubernetes' API, strictly, and by the parser of Nomad's job files.
package export_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"github.com/hashicorp/nomad/jobspec2"
	"golang.org/x/text/unicode/norm"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	strict "sigs.k8s.io/yaml"

	"supervisor/ecosystem"
	"supervisor/supervisor/export"
	"supervisor/supervisor/state"
)

// read returns the apps of an ecosystem file beside this test.
func read(t *testing.T, name string) []export.App {
	t.Helper()
	src, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	eco, err := ecosystem.Parse(src, ecosystem.Options{File: "/srv/" + name, CPUs: 2})
	if err != nil {
		t.Fatal(err)
	}
	var apps []export.App
	for i, spec := range eco.Apps {
		a := export.App{Spec: spec, Command: append([]string{spec.Script}, spec.Args...), Written: map[string]string{}}
		for key, place := range eco.Written[i] {
			a.Written[key] = place.Text
		}
		apps = append(apps, a)
	}
	return apps
}

// files are the ecosystems of this folder.
func files(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatalf("no ecosystems here: %v", err)
	}
	return names
}

// kubernetes decodes documents strictly: an unknown field is an error.
func kubernetes(t *testing.T, text []byte) (deployments []appsv1.Deployment, services []corev1.Service) {
	t.Helper()
	for one := range bytes.SplitSeq(text, []byte("\n---\n")) { // no text goes over several lines
		var doc map[string]any
		err := strict.Unmarshal(one, &doc)
		if err != nil {
			t.Fatalf("%v\n%s", err, one)
		}
		switch kind := doc["kind"]; kind {
		case "Deployment":
			var d appsv1.Deployment
			err = strict.UnmarshalStrict(one, &d)
			deployments = append(deployments, d)
		case "Service":
			var s corev1.Service
			err = strict.UnmarshalStrict(one, &s)
			services = append(services, s)
		default:
			t.Fatalf("a document of kind %v", kind)
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, one)
		}
	}
	return deployments, services
}

// nomad parses a job file strictly.
func nomad(t *testing.T, text []byte) *api.Job {
	t.Helper()
	job, err := jobspec2.ParseWithConfig(&jobspec2.ParseConfig{Path: "job.nomad", Body: text, Strict: true})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return job
}

func TestKubernetesReadsWhatIsWritten(t *testing.T) {
	for _, name := range files(t) {
		apps := read(t, name)
		text, _, err := export.Kubernetes(apps, "registry.example/app:1")
		if err != nil {
			t.Fatal(err)
		}
		deployments, services := kubernetes(t, text)
		if len(deployments) != len(apps) {
			t.Fatalf("%s: %d deployments of %d apps", name, len(deployments), len(apps))
		}
		ports := map[string]corev1.ContainerPort{}
		for i, d := range deployments {
			checkDeployment(t, name, apps[i].Spec, d)
			for _, p := range d.Spec.Template.Spec.Containers[0].Ports {
				ports[d.Name+"/"+p.Name] = p
			}
		}
		for _, s := range services {
			for _, p := range s.Spec.Ports {
				target, ok := ports[s.Spec.Selector["app.kubernetes.io/name"]+"/"+p.TargetPort.StrVal]
				if !ok || target.ContainerPort != p.Port {
					t.Errorf("%s: service %s leads to no port of its app: %+v", name, s.Name, p)
				}
			}
		}
	}
}

// checkDeployment holds what the API server would against a Deployment, and what the
// spec says.
func checkDeployment(t *testing.T, file string, spec state.Spec, d appsv1.Deployment) {
	t.Helper()
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s: %s: %s", file, spec.Name, fmt.Sprintf(format, args...))
	}
	if errs := validation.IsDNS1035Label(d.Name); len(errs) > 0 {
		fail("the name %q: %v", d.Name, errs)
	}
	for key, value := range d.Spec.Selector.MatchLabels {
		if d.Spec.Template.Labels[key] != value {
			fail("the selector finds no pod: %s=%s", key, value)
		}
	}
	for key, value := range d.Labels {
		if errs := append(validation.IsQualifiedName(key), validation.IsValidLabelValue(value)...); len(errs) > 0 {
			fail("the label %s=%s: %v", key, value, errs)
		}
	}
	if spec.AutoStart && int(*d.Spec.Replicas) != spec.Instances {
		fail("%d replicas", *d.Spec.Replicas)
	}
	if *d.Spec.ProgressDeadlineSeconds <= d.Spec.MinReadySeconds {
		fail("progressDeadlineSeconds %d is not more than minReadySeconds %d", *d.Spec.ProgressDeadlineSeconds, d.Spec.MinReadySeconds)
	}
	rolling := d.Spec.Strategy.RollingUpdate
	if rolling.MaxSurge.String() == "0" && rolling.MaxUnavailable.String() == "0" {
		fail("neither surge nor unavailable")
	}
	pod := d.Spec.Template.Spec
	c := pod.Containers[0]
	if grace := time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second; grace < spec.KillTimeout {
		fail("a grace of %s, with kill_timeout %s", grace, spec.KillTimeout)
	}
	if c.Lifecycle != nil && c.Lifecycle.StopSignal != nil && (pod.OS == nil || pod.OS.Name != corev1.Linux) {
		fail("stopSignal without os.name")
	}
	for _, p := range c.Ports {
		if errs := validation.IsValidPortName(p.Name); len(errs) > 0 {
			fail("the port name %q: %v", p.Name, errs)
		}
	}
	if p := c.StartupProbe; p != nil && time.Duration(p.FailureThreshold*p.PeriodSeconds)*time.Second < spec.ListenTimeout {
		fail("%d x %d s to start, with listen_timeout %s", p.FailureThreshold, p.PeriodSeconds, spec.ListenTimeout)
	}
	if len(c.Env) != len(spec.Env) {
		fail("env is %v", c.Env)
	}
}

func TestNomadReadsWhatIsWritten(t *testing.T) {
	for _, name := range files(t) {
		for _, image := range []string{"", "registry.example/app:1"} {
			apps := read(t, name)
			text, _ := export.Nomad("shop", apps, image)
			job := nomad(t, text)
			if *job.ID != "shop" || len(job.TaskGroups) != len(apps) {
				t.Fatalf("%s: job %s with %d groups of %d apps", name, *job.ID, len(job.TaskGroups), len(apps))
			}
			for i, g := range job.TaskGroups {
				checkGroup(t, name, apps[i].Spec, g)
			}
		}
	}
}

// checkGroup holds what Nomad's server would against a group (nomad/structs: Validate),
// and what the spec says.
func checkGroup(t *testing.T, file string, spec state.Spec, g *api.TaskGroup) {
	t.Helper()
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s: %s: %s", file, spec.Name, fmt.Sprintf(format, args...))
	}
	if spec.AutoStart && *g.Count != spec.Instances {
		fail("count %d", *g.Count)
	}
	if u := g.Update; u != nil {
		canary := 0
		if u.Canary != nil {
			canary = *u.Canary
		}
		if *u.MaxParallel < 1 || canary > *g.Count || u.AutoPromote != nil && canary == 0 {
			fail("update: max_parallel %d, canary %d of %d", *u.MaxParallel, canary, *g.Count)
		}
		if *u.MinHealthyTime >= *u.HealthyDeadline || *u.HealthyDeadline >= *u.ProgressDeadline {
			fail("update: %s < %s < %s is not so", *u.MinHealthyTime, *u.HealthyDeadline, *u.ProgressDeadline)
		}
		if spec.Reload.BlueGreen && canary != *g.Count {
			fail("blue-green with %d canaries of %d", canary, *g.Count)
		}
	}
	if r := g.RestartPolicy; r != nil && time.Duration(*r.Attempts)**r.Delay > *r.Interval {
		fail("restart: %d x %s is more than %s", *r.Attempts, *r.Delay, *r.Interval)
	}
	task := g.Tasks[0]
	if *task.KillTimeout != spec.KillTimeout {
		fail("kill_timeout %s", *task.KillTimeout)
	}
	for name, value := range spec.Env {
		got := task.Env[name]
		if got != value && !strings.HasPrefix(got, "${NOMAD_PORT_") {
			fail("env %s is %q", name, got)
		}
		if port, ok := strings.CutPrefix(got, "${NOMAD_PORT_"); ok && g.Networks[0].DynamicPorts[0].Label != strings.TrimSuffix(port, "}") {
			fail("env %s is %q, which is no port of %+v", name, got, g.Networks[0])
		}
	}
	if spec.InstanceVar != "" && task.Env[spec.InstanceVar] != "${NOMAD_ALLOC_INDEX}" {
		fail("%s is %q", spec.InstanceVar, task.Env[spec.InstanceVar])
	}
	labels := map[string]bool{}
	for _, n := range g.Networks {
		for _, p := range append(n.DynamicPorts, n.ReservedPorts...) {
			labels[p.Label] = true
		}
	}
	for _, s := range g.Services {
		if !labels[s.PortLabel] || s.Provider != "nomad" {
			fail("service %s at port %q of %q", s.Name, s.PortLabel, s.Provider)
		}
	}
}

// Whatever a text is, it comes back as it was.
func FuzzTextsComeBack(f *testing.F) {
	for _, text := range []string{"", "a b", `"\`, "${x}", "$${x}", "%{ if }", "$(HOME) $$", "yes", "on", "0x10", "1e3", "~", "null", "a: b", "- a", "# a", "\n\n", " a\n b\t\r", "\x00\x7f\u0085\u2028\ufeff", "é", "\xff", "<<EOT", "'", "|", "\U0001f600", "2001-01-01"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a := export.App{Command: []string{"/bin/x", text}}
		a.Spec.Name, a.Spec.Instances, a.Spec.KillSignal, a.Spec.KillTimeout, a.Spec.AutoStart = "web", 1, 15, time.Second, true
		a.Spec.Env = map[string]string{"X": text, "Y" + text: "y"}
		want := strings.ToValidUTF8(text, "\ufffd")
		if want != string([]rune(text)) {
			want = string([]rune(text)) // one for each byte
		}
		document, _, err := export.Kubernetes([]export.App{a}, text)
		if err != nil {
			t.Fatal(err)
		}
		deployments, _ := kubernetes(t, document)
		c := deployments[0].Spec.Template.Spec.Containers[0]
		if got := expanded(c.Args[0]); got != want {
			t.Errorf("Kubernetes: %q became the argument %q", text, got)
		}
		if got := expanded(c.Env[0].Value); c.Env[0].Name == "X" && got != want {
			t.Errorf("Kubernetes: %q became %q in env", text, got)
		}

		document, _ = export.Nomad("job", []export.App{a}, "")
		task := nomad(t, document).TaskGroups[0].Tasks[0]
		normal := norm.NFC.String(want) // as HCL has all texts
		if got := task.Env["X"]; got != normal {
			t.Errorf("Nomad: %q became %q in env", text, got)
		}
		if got := task.Config["args"].([]any)[0].(string); got != normal {
			t.Errorf("Nomad: %q became the argument %q", text, got)
		}
	})
}

// expanded is what Kubernetes makes of a text when no variable is known: $$ is $, and
// what it knows nothing of stays (k8s.io/kubernetes/third_party/forked/golang/expansion).
func expanded(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		b.WriteByte(text[i])
		if text[i] == '$' && i+1 < len(text) && text[i+1] == '$' {
			i++
		}
	}
	return b.String()
}
