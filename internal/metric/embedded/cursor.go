package embedded

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/haldane-project/haldane/internal/metric/query"
)

// cursor is where a reader ended. A tap gives every request out once and only
// from memory, so a later reader, of this daemon or of the next, never meets an
// earlier one's requests: the cursor carries what must go on, not a position.
type cursor struct {
	Boot  string                `json:"boot"`            // of the recorder that was read
	Seq   uint64                `json:"seq"`             // number of reads
	At    float64               `json:"at"`              // seconds since the run began, of the last batch
	First time.Time             `json:"first,omitzero"`  // when the canary's first request came
	Gauge time.Time             `json:"gauge,omitzero"`  // of the newest gauge sample
	Facts []known               `json:"facts,omitempty"` // by metric about models' answers
	Steps map[string]query.Step `json:"steps,omitempty"` // of queries, by metric
}

func parseCursor(b []byte) (cursor, error) {
	var c cursor
	if len(b) == 0 {
		return c, nil
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return c, fmt.Errorf("the saved cursor is not one of the embedded provider: %w", err)
	}
	return c, nil
}

func (c cursor) bytes() ([]byte, error) { return json.Marshal(c) }
