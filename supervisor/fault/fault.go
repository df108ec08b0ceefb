//go:build !faults

package fault

// Point is a place where a build with the tag faults may kill itself; here it is
// nothing, and costs nothing.
func Point(string) {}
