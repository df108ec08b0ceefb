package state

import "time"

// Snapshot is everything `list` shows, at one instant of the loop.
type Snapshot struct {
	Daemon DaemonInfo `json:"daemon"`
	Apps   []App      `json:"apps"`
}

// DaemonInfo tells which daemon answered.
type DaemonInfo struct {
	PID      int    `json:"pid"`
	Version  string `json:"version"`
	UptimeMS int64  `json:"uptime_ms"`
}

// App is one app of a Snapshot, in the order of its first start.
type App struct {
	Name       string   `json:"name"`
	Status     string   `json:"status"`
	Generation int      `json:"generation"`
	Instances  int      `json:"instances"`
	Restarts   int      `json:"restarts"`
	Workers    []Worker `json:"workers"`

	Spec      Spec     `json:"-"`
	Launch    Launch   `json:"-"`
	EnvName   string   `json:"-"` // --env it was started with
	BaseEnv   []string `json:"-"` // the environment of whoever started it
	Listeners []string `json:"-"` // held for the app, served or not
	Want      Want     `json:"-"`
	Notes     []string `json:"-"` // what can't be had (interception), said by name
}

// Worker is one worker of an App: of its slot, or retiring beside it.
type Worker struct {
	Slot       int      `json:"slot"`
	Generation int      `json:"generation"`
	PID        int      `json:"pid"` // 0 when no process exists
	State      string   `json:"state"`
	Ready      bool     `json:"ready"`
	UptimeMS   *int64   `json:"uptime_ms"`
	Restarts   int      `json:"restarts"`
	RSSBytes   *int64   `json:"rss_bytes"`   // of the process tree
	CPUPercent *float64 `json:"cpu_percent"` // of one core
	Listeners  []string `json:"listeners"`

	ID        uint64    `json:"-"`
	Inc       int       `json:"-"`
	Exact     State     `json:"-"`
	StartedAt time.Time `json:"-"`
	Said      string    `json:"-"` // the last STATUS= of sd_notify
	ExitCode  int       `json:"-"` // of Exact Exited, as a shell has it: 128 and the signal; 1: it failed without one
	LastExit  string    `json:"-"` // how the previous incarnation ended, "" if none did
}

// Describe is one app in full, what `describe NAME` shows.
type Describe struct {
	App
	File      string            `json:"file,omitempty"`
	EnvName   string            `json:"env_name,omitempty"`
	Script    string            `json:"script"` // real path of the running generation
	Command   []string          `json:"command"`
	Instead   string            `json:"instead_of,omitempty"` // the wrapper whose command this is
	Wrapper   string            `json:"wrapper,omitempty"`    // that it runs through
	Cwd       string            `json:"cwd"`
	Listening []string          `json:"listening"`
	Notes     []string          `json:"notes"`
	Logs      []string          `json:"logs"`
	Settings  Spec              `json:"settings"`
	Details   []WorkerDetail    `json:"details"`
	Env       map[string]string `json:"env"` // of the file; values only to the owner of the socket
	Last      *Receipt          `json:"last_reload"`
}

// WorkerDetail is what describe adds to a worker.
type WorkerDetail struct {
	ID       uint64 `json:"id"`
	Slot     int    `json:"slot"`
	State    string `json:"machine_state"`
	Status   string `json:"status,omitempty"`
	LastExit string `json:"last_exit,omitempty"`
}
