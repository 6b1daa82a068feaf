// Package evaluator tests releases whose answers somebody is asked about: a
// `haldane serve` process, users, and evaluators that are right, hang, lie or talk.
package evaluator
