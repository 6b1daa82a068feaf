// Package notify is the port to those who want to hear of events. Delivery never
// holds up a pass. It knows no vendor.
package notify

import (
	"context"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/rollout"
)

// Notice is what is told of a release, after it was saved.
type Notice struct {
	Release string          `json:"release"`
	Events  []rollout.Event `json:"events"`
	// Report is what the judge of the release's run says at that time, as pages,
	// commands and the API show it; nil: nothing is compared.
	Report *judge.Report `json:"report,omitempty"`
}

// Sink hears of releases. It returns at once; the notice is not to be changed.
type Sink interface {
	Notify(ctx context.Context, n Notice) error
}
