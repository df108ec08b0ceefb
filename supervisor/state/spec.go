package state

import (
	"math"
	"time"
)

// Spec is one app as its ecosystem file describes it, validated, with every
// default filled in. The `key` tag is the key's name in the file, used by Diff
// and by whoever explains a difference. Signals are numbers (signal(7)).
type Spec struct {
	Name      string `key:"name" json:"name"`
	Namespace string `key:"namespace" json:"namespace"`
	File      string `key:"-" json:"file,omitempty"`  // absolute path of the ecosystem, "" for an app started as a script
	Place     int    `key:"-" json:"place,omitempty"` // among the apps of File, from 0

	Script          string   `key:"script" json:"script"` // as written; resolved once per generation (Launch)
	Args            []string `key:"args" json:"args,omitempty"`
	Interpreter     string   `key:"interpreter" json:"interpreter,omitempty"` // "" by extension, "none" for none
	InterpreterArgs []string `key:"interpreter_args" json:"interpreter_args,omitempty"`
	Cwd             string   `key:"cwd" json:"cwd"` // absolute, symlinks not resolved

	Instances int      `key:"instances" json:"instances"` // already a count: max and -n are resolved
	Mode      ExecMode `key:"exec_mode" json:"exec_mode"`
	AutoStart bool     `key:"autostart" json:"autostart"`             // false: registered stopped
	DependsOn []string `key:"depends_on" json:"depends_on,omitempty"` // apps of the same file, sorted

	Listen    []Listen `key:"listen" json:"listen,omitempty"`
	Intercept bool     `key:"intercept" json:"intercept"`
	Balance   Balance  `key:"balance" json:"balance"`
	Protocol  Protocol `key:"protocol" json:"protocol"`

	WaitReady     bool           `key:"wait_ready" json:"wait_ready"`
	Ready         *Probe         `key:"ready" json:"ready,omitempty"` // nil: none
	ListenTimeout time.Duration  `key:"listen_timeout" json:"listen_timeout"`
	Soak          *time.Duration `key:"soak" json:"soak,omitempty"` // nil: MinUptime where readiness was inferred, else 0
	PreDrain      time.Duration  `key:"pre_drain" json:"pre_drain"`

	KillSignal          int           `key:"kill_signal" json:"kill_signal"`
	KillTimeout         time.Duration `key:"kill_timeout" json:"kill_timeout"`
	TreeKill            TreeKill      `key:"treekill" json:"treekill"`
	ShutdownWithMessage bool          `key:"shutdown_with_message" json:"shutdown_with_message"`

	Reload Reload `key:"reload" json:"reload"`

	AutoRestart   bool          `key:"autorestart" json:"autorestart"`
	MinUptime     time.Duration `key:"min_uptime" json:"min_uptime"`
	MaxRestarts   int           `key:"max_restarts" json:"max_restarts"`
	RestartDelay  time.Duration `key:"restart_delay" json:"restart_delay"` // 0: none
	ExpBackoff    time.Duration `key:"exp_backoff_restart_delay" json:"exp_backoff_restart_delay"`
	StopExitCodes []int         `key:"stop_exit_codes" json:"stop_exit_codes,omitempty"`

	Env          map[string]string `key:"env" json:"env,omitempty"` // env_file, env and env_NAME merged, port included
	FilterEnv    FilterEnv         `key:"filter_env" json:"filter_env"`
	InstanceVar  string            `key:"instance_var" json:"instance_var"`
	IncrementVar string            `key:"increment_var" json:"increment_var,omitempty"`

	OutFile   string `key:"out_file" json:"out_file,omitempty"` // "" default, "/dev/null" off; absolute
	ErrorFile string `key:"error_file" json:"error_file,omitempty"`
	MergeLogs bool   `key:"merge_logs" json:"merge_logs"`
	Log       Log    `key:"log" json:"log"`

	LogDateFormat string  `key:"log_date_format" json:"log_date_format,omitempty"` // tokens of package stamp, "" for no time
	LogType       LogType `key:"log_type" json:"log_type,omitempty"`

	User   string  `key:"user" json:"user,omitempty"`
	Group  string  `key:"group" json:"group,omitempty"`
	Umask  *int    `key:"umask" json:"umask,omitempty"`
	Nice   *int    `key:"nice" json:"nice,omitempty"`
	Limits []Limit `key:"limits" json:"limits,omitempty"` // setrlimit(2), sorted by name

	NodeDrain bool `key:"node_drain" json:"node_drain"`
}

// ExecMode says whether an app's listeners are shared and its reloads overlap.
type ExecMode string

const (
	Cluster ExecMode = "cluster" // listeners shared, the new worker comes first
	Fork    ExecMode = "fork"    // sockets untouched, the old worker goes first
)

// Balance is how new TCP connections are spread over the workers of a cluster.
type Balance string

const (
	Shared Balance = "shared" // one socket for all: whoever accepts first
	Even   Balance = "even"   // a socket for each, and a worker that leaves gets none
)

// Steered reports whether each worker has sockets of its own, so that one can be taken
// out of accept.
func (s Spec) Steered() bool { return s.Mode == Cluster && s.Balance == Even }

// Protocol is how a worker is spoken to about readiness and listeners.
type Protocol string

const (
	ProtocolAuto    Protocol = "auto"
	ProtocolNone    Protocol = "none"
	ProtocolSystemd Protocol = "systemd"
	ProtocolNode    Protocol = "node"

	ProtocolTableflip Protocol = "tableflip"
)

// TreeKill says which processes of a worker get the first stop signal.
type TreeKill string

const (
	TreeAuto TreeKill = "auto" // main, and every process that listens on a held socket
	TreeAll  TreeKill = "true" // the whole tree, as in pm2
	TreeMain TreeKill = "false"
)

// Listen is one declared socket.
type Listen struct {
	Network string `json:"network"` // "tcp" or "unix"
	Address string `json:"address"` // host:port, or an absolute path
	Name    string `json:"name,omitempty"`
}

// String returns the address as list shows it: tcp://host:port or unix:/path.
func (l Listen) String() string {
	if l.Network == "unix" {
		return "unix:" + l.Address
	}
	return l.Network + "://" + l.Address
}

// Reload is how the workers of an app are replaced.
type Reload struct {
	BlueGreen      bool   `json:"blue_green"`
	MaxSurge       Amount `json:"max_surge"`
	MaxUnavailable Amount `json:"max_unavailable"`
	Force          bool   `json:"force"` // on_timeout: force
}

// Amount is a number of workers, or a share of the instances.
type Amount struct {
	N       int  `json:"n"`
	Percent bool `json:"percent,omitempty"`
}

// Of returns the amount for that many instances; a share is rounded up.
func (a Amount) Of(instances int) int {
	if !a.Percent {
		return a.N
	}
	return int(math.Ceil(float64(a.N) * float64(instances) / 100))
}

// FilterEnv trims the caller's environment before it becomes an app's base.
type FilterEnv struct {
	All      bool     `json:"all,omitempty"`
	Contains []string `json:"contains,omitempty"` // names that contain one of these are dropped
}

// Log says how an app's log files are rotated; sizes in bytes. A negative
// MaxSize is never, a negative MaxFiles keeps no rotated file.
type Log struct {
	MaxSize  int64 `json:"max_size"`
	MaxFiles int   `json:"max_files"`
	Compress bool  `json:"compress"`
}

// LogType is how lines are written to the log files.
type LogType string

const (
	LogRaw  LogType = "" // as the worker wrote them
	LogJSON LogType = "json"
)

// Limit is one resource limit of setrlimit(2); math.MaxUint64 is unlimited.
type Limit struct {
	Name     string `json:"name"` // nofile, nproc, core, ...
	Resource int    `json:"resource"`
	Soft     uint64 `json:"soft"`
	Hard     uint64 `json:"hard"`
}

// Launch is what a generation runs: the spec with everything on disk resolved
// once, when the generation began (real paths, interpreter found, program built).
type Launch struct {
	Path     string   `json:"path"` // real path of the program that is executed
	Argv     []string `json:"argv"`
	Dir      string   `json:"dir"`            // real path of cwd
	Script   string   `json:"script"`         // real path of the script
	Node     bool     `json:"node,omitempty"` // a Node program: gets the IPC channel
	BaseEnv  []string `json:"base_env"`       // the caller's environment, filtered, before the app's own
	Releases bool     `json:"releases"`       // cwd or script went through a symlink: the release has real paths of its own
	Built    string   `json:"built,omitempty"`

	// Where script is a wrapper (npm, sh -c) around one plain command, that is what
	// Argv is; Instead is what it would have been, Env what the wrapper would have set.
	Instead string            `json:"instead_of,omitempty"`
	Env     map[string]string `json:"env,omitempty"`
	Wrapper string            `json:"wrapper,omitempty"` // the wrapper that it runs through
}
