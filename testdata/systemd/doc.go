// Package systemd holds the supervisor, as a service, to what it promises, under a real
// systemd that is booted for the tests (with-systemd). TestUnderSystemd boots it and runs
// the others in it.
package systemd
