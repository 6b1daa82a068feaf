// Package rbac holds the rights that the controller needs in a cluster. It knows
// the text of the role only; this file is all of its code.
package rbac

import _ "embed"

// Role is the controller's ClusterRole, YAML.
//
//go:embed role.yaml
var Role []byte
