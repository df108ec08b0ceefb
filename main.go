// Supervisor is a process supervisor for zero-downtime reloads.
package main

import (
	"os"
	"runtime/debug"

	"supervisor/supervisor/cli"
	"supervisor/supervisor/daemon"
	"supervisor/supervisor/process"
)

func main() {
	if process.IsShim(os.Args) {
		process.ShimMain()
	}
	os.Exit(cli.Run(os.Args, cli.Env{Version: version(), Daemon: runDaemon}))
}

// runDaemon gives the command line's wishes to the daemon.
func runDaemon(o cli.DaemonOptions) int {
	options := daemon.Options{
		Home: o.Home, Foreground: o.Foreground, Request: o.Request, Version: o.Version,
		Stderr: o.Stderr,
	}
	if o.ReadyFD >= 0 && !o.Foreground {
		options.Ready = os.NewFile(uintptr(o.ReadyFD), "ready")
	}
	return daemon.Main(options)
}

// version is the module's as the go command stamped it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}
