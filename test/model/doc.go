// Package model holds the end-to-end tests of releases of models: the real
// daemon and its proxy, the sample model server and the digits example, asked by
// raw sockets, by OpenAI's own client and by the examples' own users.
//
// HALDANE_E2E=1 adds what takes minutes or needs node and scikit-learn.
// Read harness_test.go.
package model
