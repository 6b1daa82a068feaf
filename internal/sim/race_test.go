//go:build race

package sim

// racing: the race detector makes worlds ten times dearer, so that fewer are tried.
const racing = true
