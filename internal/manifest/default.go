package manifest

import (
	"time"

	"github.com/haldane-project/haldane/internal/release"
)

// Every default of a manifest. The field comments in api/v1alpha1 state the
// same values to users; a test compares the two.
const (
	defaultReplicas      = 1
	defaultKeepRuns      = 10
	defaultPortEnv       = "PORT"
	defaultProtocol      = "http"
	defaultDrain         = 30 * time.Second
	defaultProbeInterval = 2 * time.Second
	defaultProbeTimeout  = time.Second
	defaultProbeDeadline = time.Minute
	defaultWarmRequests  = 1

	defaultCurrency        = "USD"
	defaultCookieTTL       = 720 * time.Hour
	defaultShieldBody      = 65536
	defaultFeedbackPath    = "/feedback"
	defaultFeedbackKeep    = 24 * time.Hour
	defaultHeaderTimeout   = 10 * time.Second
	defaultIdleTimeout     = 2 * time.Minute
	defaultResponseTimeout = time.Minute

	defaultRouteSettle  = 3 * time.Second
	defaultMeshSettle   = time.Second
	defaultStableSubset = "stable"
	defaultCanarySubset = "canary"

	defaultBake           = 30 * time.Second
	defaultStepDeadline   = time.Hour
	defaultOnInconclusive = release.PauseRun
	defaultReadyDeadline  = 2 * time.Minute
	defaultGateTimeout    = 10 * time.Second
	defaultWindowZone     = "UTC"
	defaultBatches        = 4
	defaultABShare        = release.Full / 2
	defaultShadowShare    = release.Full / 10
	defaultShadowHold     = time.Minute

	defaultFalseRollback  = 0.01
	defaultFalsePromotion = 0.05
	defaultMinRequests    = 50
	defaultQuantile       = 0.9
)

// defaultSteps are the weights of a canary that names none.
func defaultSteps() []release.Weight { return []release.Weight{500, 1000, 5000} }

// defaultLooseness tightens the margins over the steps that require a proof, as
// far as they do not say themselves: declared says which do. The last has the
// margins as they are declared.
func defaultLooseness(steps []release.Step, declared []bool) {
	loose := 1.0
	for i := len(steps) - 1; i >= 0; i-- {
		if !declared[i] {
			steps[i].Looseness = 1
		}
		if steps[i].Require != release.Proven {
			continue
		}
		if !declared[i] {
			steps[i].Looseness = loose
		}
		loose = min(loose+1, 3)
	}
}

// defaultShielded are the methods that RFC 9110 section 9.2.2 calls idempotent.
func defaultShielded() []string { return []string{"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"} }

// defaultMargin is how much worse a metric may be where nothing is said.
func defaultMargin(k release.MetricKind) release.Margin {
	if k == release.Errors || k == release.Proportion || k == release.Votes {
		return release.Margin{Ratio: 1.5, Difference: 0.001}
	}
	switch {
	case changes(k):
		return release.Margin{}
	case k == release.Agreement:
		return release.Margin{Difference: 0.05}
	}
	return release.Margin{Ratio: 1.2}
}

// defaultHarm is the direction in which a rate or a gauge gets worse.
func defaultHarm(k release.MetricKind) release.Harm {
	if k == release.Rate {
		return release.HarmFewer
	}
	return release.HarmMore
}

// always reports whether a metric decides by default: the two that every
// service has.
func always(k release.MetricKind) bool { return k == release.Errors || k == release.Latency }
