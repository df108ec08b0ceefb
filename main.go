// Supervisor is a process supervisor for zero-downtime reloads.
package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"syscall"

	"supervisor/supervisor/cli"
	"supervisor/supervisor/daemon"
	"supervisor/supervisor/handover"
	"supervisor/supervisor/process"
)

func main() {
	switch {
	case process.IsShim(os.Args):
		process.ShimMain()
	case handover.IsKeeper(os.Args):
		os.Exit(handover.KeeperMain(os.Args))
	case handover.IsHeir(os.Args):
		os.Exit(handover.HeirMain(os.Args))
	}
	os.Exit(cli.Run(os.Args, cli.Env{Version: version(), Daemon: runDaemon, Keeper: runKeeper, Init: os.Getpid() == 1, Boot: handover.Boot}))
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

// runKeeper becomes the keeper of a daemon in the foreground: the same process, under a
// name that those know it by who look for it.
func runKeeper(o cli.KeeperOptions) int {
	args := handover.KeeperOptions{Home: o.Home, Daemon: o.Daemon, Upward: o.Upward}.Args()
	err := syscall.Exec("/proc/self/exe", args, os.Environ())
	fmt.Fprintf(o.Stderr, "cannot start the supervisor: cannot execute its own program as the keeper: %v\n", err)
	return 1
}

// version is the module's as the go command stamped it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}
