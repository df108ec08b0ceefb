package export

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"gopkg.in/yaml.v3"

	"supervisor/signals"
	"supervisor/supervisor/state"
)

// kubeHead is what a person should know of the documents.
const kubeHead = `# Made by supervisor export k8s. A rollout that misses progressDeadlineSeconds is only
# marked as failed, and what served goes on: kubectl rollout undo takes it back.
`

// Kubernetes returns a Deployment and, for an app with a port, a Service of each app,
// whose pods run image.
func Kubernetes(apps []App, image string) ([]byte, []Warning, error) {
	var r report
	var out bytes.Buffer
	out.WriteString(kubeHead)
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	names := r.names(apps)
	for i, a := range apps {
		r.app = i
		r.lost(a, func(f fate) string { return f.kubernetes })
		r.common(a)
		r.sockets(a)
		k := kube{App: a, report: &r, name: names[i], image: image}
		docs := []any{k.deployment()}
		if ports := k.ports(); len(ports) > 0 {
			docs = append(docs, k.service(ports))
		}
		for _, doc := range docs {
			if err := enc.Encode(doc); err != nil {
				return nil, nil, fmt.Errorf("cannot write the YAML of %s: %w", a.Spec.Name, err)
			}
		}
	}
	if err := enc.Close(); err != nil {
		return nil, nil, fmt.Errorf("cannot write the YAML: %w", err)
	}
	return out.Bytes(), r.sorted(), nil
}

// kube writes one app.
type kube struct {
	App
	*report
	name, image string
}

func (k kube) labels() map[string]string {
	return map[string]string{"app.kubernetes.io/name": k.name}
}

func (k kube) meta() kubeMeta {
	m := kubeMeta{Name: k.name, Labels: k.labels()}
	if _, written := k.Written["namespace"]; written {
		m.Labels["app.kubernetes.io/part-of"] = label(k.Spec.Namespace)
	}
	return m
}

func (k kube) deployment() kubeDeployment {
	asked := probed(k.App)
	steady := k.steady(asked)
	return kubeDeployment{
		APIVersion: "apps/v1", Kind: "Deployment", Metadata: k.meta(),
		Spec: kubeDeploymentSpec{
			Replicas: k.count(), Selector: kubeSelector{k.labels()}, Strategy: k.strategy(),
			MinReadySeconds:         seconds(steady),
			ProgressDeadlineSeconds: seconds(placing) + seconds(k.Spec.ListenTimeout) + seconds(steady),
			Template:                kubeTemplate{kubeMeta{Labels: k.labels()}, k.pod()},
		},
	}
}

// strategy is how pods are replaced. A Deployment has no way to wait for all the new
// ones before the first old one leaves.
func (k kube) strategy() kubeStrategy {
	reload := k.Spec.Reload
	rolling := kubeRolling{amount(reload.MaxSurge), amount(reload.MaxUnavailable)}
	switch {
	case k.Spec.Mode == state.Fork:
		rolling = kubeRolling{0, 1}
	case reload.BlueGreen:
		rolling = kubeRolling{"100%", 0}
		k.warn("reload", "blue-green: all new pods are started at once, but each old one leaves as soon as a new one is ready")
	}
	return kubeStrategy{"RollingUpdate", rolling}
}

func amount(a state.Amount) any {
	if a.Percent {
		return strconv.Itoa(a.N) + "%"
	}
	return a.N
}

func (k kube) pod() kubePodSpec {
	served := len(k.ports()) > 0
	linger := seconds(k.linger(served))
	pod := kubePodSpec{TerminationGracePeriodSeconds: linger + seconds(k.Spec.KillTimeout)}
	c := kubeContainer{
		Name: k.name, Image: text(k.image), WorkingDir: k.workingDir(), Env: k.env(),
		Resources: k.resources(), SecurityContext: k.security(), Lifecycle: &kubeLifecycle{},
	}
	if words := literals(k.Command); len(words) > 0 {
		c.Command, c.Args = words[:1], words[1:]
	}
	for _, p := range k.ports() {
		c.Ports = append(c.Ports, kubePort{portName(p), p.number})
	}
	c.StartupProbe, c.ReadinessProbe = k.probes()
	if linger > 0 {
		c.Lifecycle.PreStop = &kubePreStop{kubeSleep{linger}}
	}
	if sig := syscall.Signal(k.Spec.KillSignal); sig != syscall.SIGTERM {
		c.Lifecycle.StopSignal, pod.OS = signals.Name(sig), &kubeOS{"linux"}
		k.warn("kill_signal", "stopSignal needs Kubernetes 1.33 with the feature ContainerStopSignals, elsewhere %s is not sent but the image's STOPSIGNAL, or SIGTERM", signals.Name(sig))
	}
	if *c.Lifecycle == (kubeLifecycle{}) {
		c.Lifecycle = nil
	}
	pod.Containers = []kubeContainer{c}
	return pod
}

// workingDir is cwd where that is the same in an image.
func (k kube) workingDir() text {
	cwd, written := k.Written["cwd"]
	switch {
	case !written:
		return ""
	case strings.HasPrefix(cwd, "/"):
		return text(k.Spec.Cwd)
	}
	k.warn("cwd", "is below the folder of the file here; there the image's WORKDIR is used")
	return ""
}

func (k kube) env() []kubeEnv {
	var env []kubeEnv
	for _, name := range slices.Sorted(maps.Keys(k.Spec.Env)) {
		env = append(env, kubeEnv{text(name), literal(k.Spec.Env[name])})
	}
	return env
}

// literal keeps Kubernetes from expanding $(NAME) in a text, and from making one $ of two
// (kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables).
func literal(s string) text {
	if strings.Contains(s, "$(") || strings.Contains(s, "$$") {
		s = strings.ReplaceAll(s, "$", "$$")
	}
	return text(s)
}

func literals(words []string) []text {
	out := make([]text, len(words))
	for i, w := range words {
		out[i] = literal(w)
	}
	return out
}

// portName is a name of at most 15 bytes (IANA_SVC_NAME), unique by the port's number.
func portName(p port) string {
	number := strconv.Itoa(p.number)
	name := "tcp"
	if p.name != "" {
		name = label(p.name)
	}
	name = strings.TrimRight(name[:min(len(name), 15-len("-")-len(number))], "-")
	return name + "-" + number
}

// probes are one that gives the app its listen_timeout to start, and one that asks from
// then on.
func (k kube) probes() (startup, ready *kubeProbe) {
	c, why := k.check()
	if why != "" {
		k.warn("ready", "%s: %s", why, readyBy(k.App))
	}
	period, timeout := 1, 1
	if p := k.Spec.Ready; p != nil && why == "" {
		period, timeout = max(1, seconds(p.Interval)), max(1, seconds(p.Timeout))
	}
	probe := kubeProbe{PeriodSeconds: period, TimeoutSeconds: timeout}
	switch c.kind {
	case asksNothing:
		return nil, nil
	case asksHTTP:
		probe.HTTPGet = &kubeHTTP{text(c.path), c.port, text(c.host)}
	case asksTCP:
		probe.TCPSocket = &kubeTCP{c.port, text(c.host)}
	case asksCommand:
		probe.Exec = &kubeExec{literals(c.command)}
	}
	first := probe
	first.FailureThreshold = max(1, (seconds(k.Spec.ListenTimeout)+period-1)/period)
	return &first, &probe
}

// resources are the limits of memory. The others of setrlimit(2) have no counterpart.
func (k kube) resources() *kubeResources {
	bytes, others := memory(k.Spec.Limits)
	for _, name := range others {
		k.warn("limits", "%s can't be set: it is the node's container runtime that limits it", name)
	}
	if bytes == 0 {
		return nil
	}
	size := strconv.FormatUint(bytes, 10)
	if bytes%(1<<20) == 0 {
		size = strconv.FormatUint(bytes>>20, 10) + "Mi"
	}
	return &kubeResources{map[string]string{"memory": size}}
}

// memory is what limits the memory of a worker, 0 for nothing: rss, else as. The names
// of all other limits come with it.
func memory(limits []state.Limit) (bytes uint64, others []string) {
	var address uint64
	for _, l := range limits {
		switch {
		case l.Soft == math.MaxUint64 && (l.Name == "rss" || l.Name == "as"):
		case l.Name == "rss":
			bytes = l.Soft
		case l.Name == "as":
			address = l.Soft
		default:
			others = append(others, l.Name)
		}
	}
	if bytes == 0 {
		bytes = address
	}
	return bytes, others
}

func (k kube) security() *kubeSecurity {
	s := kubeSecurity{k.id("user", k.Spec.User), k.id("group", k.Spec.Group)}
	if s == (kubeSecurity{}) {
		return nil
	}
	return &s
}

// id reads the number of a user or group; a name is that of this machine alone.
func (k kube) id(key, who string) *int64 {
	if who == "" {
		return nil
	}
	n, err := strconv.ParseInt(who, 10, 64)
	if err != nil {
		k.warn(key, "%s is a name of this machine: write its number, or USER in the image", who)
		return nil
	}
	return &n
}

func (k kube) service(ports []port) kubeService {
	s := kubeService{APIVersion: "v1", Kind: "Service", Metadata: k.meta(), Spec: kubeServiceSpec{Selector: k.labels()}}
	for _, p := range ports {
		s.Spec.Ports = append(s.Spec.Ports, kubeServicePort{portName(p), p.number, portName(p)})
	}
	return s
}
