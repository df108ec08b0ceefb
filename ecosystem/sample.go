package ecosystem

// Sample returns the example that `supervisor init` writes. It is valid where
// there is an app.js beside it.
func Sample() []byte {
	return []byte(`# An ecosystem: the apps of one daemon. Check it with: supervisor validate FILE
# Durations are milliseconds (8000) or have a unit (8s, 1m); sizes 300M, 1G.
apps:
  - name: web
    script: app.js              # a file, or a program in PATH
    # args: --verbose           # a list, or a text split like a shell would
    # cwd: current              # default: the folder of this file
    instances: 2                # n, max, or -1 for all cpus but one
    exec_mode: cluster          # reloads overlap, listeners are shared

    # Sockets that a program opens itself are found and held. Those declared
    # here are open before the first worker starts, and passed as LISTEN_FDS.
    # listen:
    #   - tcp://127.0.0.1:3000
    #   - admin=unix:run/admin.sock

    wait_ready: false           # true: ready when it says so, not when it listens
    listen_timeout: 10s         # later than this is a failed start
    kill_signal: SIGINT         # first signal of a stop
    kill_timeout: 10s           # SIGKILL after it

    reload:
      strategy: rolling         # or blue-green: all the new before any of the old leaves
      max_surge: 1              # workers above instances during a reload: n or N%
      max_unavailable: 0        # workers missing during a reload: n or N%
      on_timeout: abort         # the old workers go on when a new one is not ready

    max_restarts: 16            # unstable ends in a row until the app is errored
    min_uptime: 1s              # earlier than this is unstable

    env:
      NODE_ENV: development
      PORT: 3000
    env_production:             # merged over env by: supervisor start --env production
      NODE_ENV: production
    # env_file: .env

    log:
      max_size: 10M             # rotation of out_file and error_file
      max_files: 5
      compress: false
`)
}
