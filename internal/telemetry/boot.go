package telemetry

import "crypto/rand"

// newBoot names a Recorder.
func newBoot() string { return rand.Text()[:16] }
