// Package interop runs protocol suites written by others against the proxy:
// gRPC's interop cases over clear text and TLS. It starts the real engine on
// real sockets. `HALDANE_INTEROP_RUNS=100 go test ./test/interop` is the long
// form.
//
// Read grpc_test.go.
package interop
