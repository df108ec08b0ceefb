package export

import (
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"
)

// text is any text of the file. The YAML writer's own choice for one of several lines, a
// block, loses lines that are empty (github.com/go-yaml/yaml 3.0.1).
type text string

// MarshalYAML writes what does not stand on one line in double quotes.
func (t text) MarshalYAML() (any, error) {
	plain := string([]rune(t)) // bytes that are no UTF-8 become U+FFFD
	if !strings.ContainsFunc(plain, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return plain, nil
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: plain}, nil
}

// The part of Kubernetes' API that is written, in the API's own order of fields
// (apps/v1 Deployment, v1 Service).

type kubeMeta struct {
	Name   string            `yaml:"name,omitempty"`
	Labels map[string]string `yaml:"labels,omitempty"`
}

type kubeDeployment struct {
	APIVersion string             `yaml:"apiVersion"`
	Kind       string             `yaml:"kind"`
	Metadata   kubeMeta           `yaml:"metadata"`
	Spec       kubeDeploymentSpec `yaml:"spec"`
}

type kubeDeploymentSpec struct {
	Replicas                int          `yaml:"replicas"`
	Selector                kubeSelector `yaml:"selector"`
	Strategy                kubeStrategy `yaml:"strategy"`
	MinReadySeconds         int          `yaml:"minReadySeconds,omitempty"`
	ProgressDeadlineSeconds int          `yaml:"progressDeadlineSeconds"`
	Template                kubeTemplate `yaml:"template"`
}

type kubeSelector struct {
	MatchLabels map[string]string `yaml:"matchLabels"`
}

type kubeStrategy struct {
	Type          string      `yaml:"type"`
	RollingUpdate kubeRolling `yaml:"rollingUpdate"`
}

type kubeRolling struct {
	MaxSurge       any `yaml:"maxSurge"` // a number, or N%
	MaxUnavailable any `yaml:"maxUnavailable"`
}

type kubeTemplate struct {
	Metadata kubeMeta    `yaml:"metadata"`
	Spec     kubePodSpec `yaml:"spec"`
}

type kubePodSpec struct {
	OS                            *kubeOS         `yaml:"os,omitempty"`
	TerminationGracePeriodSeconds int             `yaml:"terminationGracePeriodSeconds"`
	Containers                    []kubeContainer `yaml:"containers"`
}

type kubeOS struct {
	Name string `yaml:"name"`
}

type kubeContainer struct {
	Name            string         `yaml:"name"`
	Image           text           `yaml:"image"`
	Command         []text         `yaml:"command,omitempty"`
	Args            []text         `yaml:"args,omitempty"`
	WorkingDir      text           `yaml:"workingDir,omitempty"`
	Ports           []kubePort     `yaml:"ports,omitempty"`
	Env             []kubeEnv      `yaml:"env,omitempty"`
	Resources       *kubeResources `yaml:"resources,omitempty"`
	StartupProbe    *kubeProbe     `yaml:"startupProbe,omitempty"`
	ReadinessProbe  *kubeProbe     `yaml:"readinessProbe,omitempty"`
	Lifecycle       *kubeLifecycle `yaml:"lifecycle,omitempty"`
	SecurityContext *kubeSecurity  `yaml:"securityContext,omitempty"`
}

type kubePort struct {
	Name          string `yaml:"name"`
	ContainerPort int    `yaml:"containerPort"`
}

type kubeEnv struct {
	Name  text `yaml:"name"`
	Value text `yaml:"value"`
}

type kubeResources struct {
	Limits map[string]string `yaml:"limits"`
}

type kubeProbe struct {
	HTTPGet          *kubeHTTP `yaml:"httpGet,omitempty"`
	TCPSocket        *kubeTCP  `yaml:"tcpSocket,omitempty"`
	Exec             *kubeExec `yaml:"exec,omitempty"`
	TimeoutSeconds   int       `yaml:"timeoutSeconds"`
	PeriodSeconds    int       `yaml:"periodSeconds"`
	FailureThreshold int       `yaml:"failureThreshold,omitempty"`
}

type kubeHTTP struct {
	Path text `yaml:"path"`
	Port int  `yaml:"port"`
	Host text `yaml:"host,omitempty"`
}

type kubeTCP struct {
	Port int  `yaml:"port"`
	Host text `yaml:"host,omitempty"`
}

type kubeExec struct {
	Command []text `yaml:"command"`
}

type kubeLifecycle struct {
	PreStop    *kubePreStop `yaml:"preStop,omitempty"`
	StopSignal string       `yaml:"stopSignal,omitempty"`
}

type kubePreStop struct {
	Sleep kubeSleep `yaml:"sleep"`
}

type kubeSleep struct {
	Seconds int `yaml:"seconds"`
}

type kubeSecurity struct {
	RunAsUser  *int64 `yaml:"runAsUser,omitempty"`
	RunAsGroup *int64 `yaml:"runAsGroup,omitempty"`
}

type kubeService struct {
	APIVersion string          `yaml:"apiVersion"`
	Kind       string          `yaml:"kind"`
	Metadata   kubeMeta        `yaml:"metadata"`
	Spec       kubeServiceSpec `yaml:"spec"`
}

type kubeServiceSpec struct {
	Selector map[string]string `yaml:"selector"`
	Ports    []kubeServicePort `yaml:"ports"`
}

type kubeServicePort struct {
	Name       string `yaml:"name"`
	Port       int    `yaml:"port"`
	TargetPort string `yaml:"targetPort"`
}
