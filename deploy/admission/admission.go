// Package admission holds the policy by which a Deployment that a Release works
// with is paused in the very write that changes its template. It knows the text
// of the policy only; this file is all of its code.
package admission

import (
	_ "embed"
	"fmt"
	"regexp"
	"strings"
)

//go:embed policy.yaml
var policy string

// users are the names that may stand in an expression.
var users = regexp.MustCompile(`^[A-Za-z0-9:@._-]+$`)

// Policy returns the policy and its binding, YAML, for a controller that the API
// server knows by the given user name, such as
// system:serviceaccount:haldane-system:haldane.
func Policy(controller string) ([]byte, error) {
	if !users.MatchString(controller) {
		return nil, fmt.Errorf("user name %q can not stand in the admission policy: expected letters, digits and : @ . _ -", controller)
	}
	return []byte(strings.ReplaceAll(policy, "${CONTROLLER}", controller)), nil
}
