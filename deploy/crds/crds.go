// Package crds holds the definitions of Haldane's objects for a cluster,
// generated from the types in api/v1alpha1 (make generate). It must not hold
// anything else; the schema for editors is derived from them.
package crds

import _ "embed"

// Releases is the CustomResourceDefinition of releases, YAML.
//
//go:embed haldane.dev_releases.yaml
var Releases []byte

// Runs is the CustomResourceDefinition of runs, YAML.
//
//go:embed haldane.dev_runs.yaml
var Runs []byte
