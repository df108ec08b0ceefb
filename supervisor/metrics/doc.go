// Package metrics counts what the event stream tells, and writes it with a snapshot in
// the text format 0.0.4 of Prometheus
// (prometheus.io/docs/instrumenting/exposition_formats). It is pure.
//
// Invariants:
//   - every family has a HELP and a TYPE, is written in one piece, and in the same
//     order each time;
//   - what is not known is not written, never 0;
//   - names are those of Prometheus' conventions: base units (seconds), _total at a
//     counter;
//   - the series are bounded by what the daemon has: an app that was deleted takes its
//     own with it.
//
// A writer of our own because the usual library fills registries at package init, for
// which every start of a worker would pay (the shim is the same binary).
package metrics
