// Package chart tests how Haldane is installed in a cluster: the chart with the
// real helm, and the plain manifests made from it, on a real API server. It
// must not know the controller's code. Read manifests_test.go first; the tests
// that need helm (helm_test.go) run with HALDANE_E2E=1.
package chart
