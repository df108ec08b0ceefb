// Package scale holds the test of a supervisor with many workers. A small one, 100
// workers in 20 apps, always runs; the large one, 1,000 in 200, by
//
//	go test ./testdata/scale -scale -v
//
// It counts: requests lost, wake-ups of an idle daemon, descriptors. Figures of time
// and memory are logged and judged by nobody but their reader, but for the daemon's
// memory in the large one.
package scale
