package app

import (
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// The reasons of trouble that an API server tells.
const (
	accessDenied  = "AccessDenied"  // RBAC
	writeRefused  = "WriteRefused"  // an admission policy or webhook
	quotaExceeded = "QuotaExceeded" // a ResourceQuota
	fieldConflict = "FieldConflict" // somebody else's write
	unreachable   = "APIUnreachable"
	passFailed    = "PassFailed" // anything else
)

// explain implements reconcile's Explain: what an error of the API server is and
// how it is mended.
func explain(err error) (reason, text string) {
	reason, remedy := kindOf(err)
	if text = err.Error(); remedy != "" {
		text = fmt.Sprintf("%s: %s", strings.TrimRight(text, ". \n"), remedy)
	}
	return reason, text
}

func kindOf(err error) (reason, remedy string) {
	text := err.Error()
	switch {
	case strings.Contains(text, "exceeded quota"):
		return quotaExceeded, "raise the ResourceQuota of the namespace"
	case strings.Contains(text, "denied request") || strings.Contains(text, "denied the request"):
		return writeRefused, "exempt what the controller's account writes from that policy or webhook, or make the object one that it lets pass"
	case apierrors.IsForbidden(err):
		return accessDenied, "give the controller's account that right (deploy/rbac/role.yaml has all that it needs)"
	case apierrors.IsUnauthorized(err):
		return accessDenied, "give the controller a token that the API server knows"
	case apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err):
		return fieldConflict, "it is tried again; if it stays, see who else writes the object (kubectl get --show-managed-fields)"
	case apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsServiceUnavailable(err) ||
		apierrors.IsTooManyRequests(err) || strings.Contains(text, "connection refused"):
		return unreachable, "it is tried again"
	}
	return passFailed, ""
}
