// What the daemon answers at /metrics, read by Prometheus' own parser. A module of its
// own: the supervisor writes the format itself, for the sake of its start.
module supervisor/testdata/metrics

go 1.26.0

replace supervisor => ../..

require (
	github.com/prometheus/client_golang v1.25.0
	github.com/prometheus/client_model v0.6.3
	github.com/prometheus/common v0.74.0
	supervisor v0.0.0-00010101000000-000000000000
)

require (
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/pandatix/go-abnf v0.5.5 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)
