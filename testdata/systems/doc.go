// Package systems holds the end-to-end tests of four systems as users run them, one
// in each folder: its programs, its ecosystem file and a page on what a reload may
// lose. The programs know nothing of this project; they are ordinary Node programs
// that a person could run by hand. The tests run by
//
//	go test ./testdata/systems
//
// and need node, and npm for the packages (npm ci, once, into an ignored folder).
// Each test has a supervisor of its own, runs a copy of the folder on free ports, and
// ends with no process left.
package systems
