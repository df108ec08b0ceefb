// Package container holds the supervisor to what it promises as the first process of a
// container, without an engine for those: tests alone. A container is a folder that is
// made from a Dockerfile's instructions, or has nothing but the programs, which a process
// takes for its root in namespaces of its own (pid, mount, network); that needs root.
//
// Invariants: a test waits for what the container says or for a process's end, never for
// a time; whatever a container has started dies with its first process, which every test
// ends.
package container
