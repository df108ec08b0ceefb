#!/bin/sh
# Runs a server as its child, without exec, as start scripts do:
# wrapper.sh COMMAND ARGS...; without a command it is the Node server.
here=$(dirname "$0")
if [ $# -eq 0 ]; then
	set -- node "$here/../node/ready.js"
fi
"$@"
status=$?
echo "wrapper: the server has ended with $status"
exit $status
