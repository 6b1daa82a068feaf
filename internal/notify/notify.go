// Package notify is the port to those who want to hear of events. Delivery is
// at least once and never holds up a pass. It knows no vendor.
package notify

import (
	"context"

	"github.com/haldane-project/haldane/internal/rollout"
)

// Sink hears of the events of releases, after they were saved.
type Sink interface {
	Notify(ctx context.Context, release string, events []rollout.Event) error
}
