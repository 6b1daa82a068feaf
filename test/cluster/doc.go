// Package cluster runs a real Kubernetes for tests: an API server with its
// store and controllers on loopback ports, for any test and any user, or a full
// single-node cluster whose pods answer, which needs root. Every program is
// built once from its Go module at a pinned version (tools/) and kept under the
// user's cache directory. It knows nothing of Haldane. Read cluster.go first,
// then build.go; `go run ./test/cluster/cmd` is the same for a shell.
package cluster
