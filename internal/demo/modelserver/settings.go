package modelserver

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/haldane-project/haldane/internal/demo/ngram"
)

// Settings are what one version of the server is. Shares are from 0 to 1 and
// drawn for each request by itself.
type Settings struct {
	Version    string        // named in the header VersionHeader of every answer
	Order      int           // n of the model that is served as DefaultModel
	FirstToken time.Duration // until the first token, about (log-normal)
	PerToken   time.Duration // for each further token, about (log-normal)
	Seed       uint64        // of the luck: waits and faults. 0: another one at each start
	IgnoreSeed bool          // requests' seeds are ignored: equal requests get different answers

	// Planted faults.
	Errors      float64 // answered 503 before anything else
	Ramble      float64 // goes on several times as long
	Refuse      float64 // refuses what should be answered
	BreakJSON   float64 // structured answers and tool arguments that do not parse
	Repeat      float64 // says one sentence again and again
	Empty       float64 // says nothing
	Cut         float64 // ends a stream midway, without its end marker
	Abort       float64 // breaks the connection midway
	StreamError float64 // an error event midway, after a 200
	Stall       float64 // says nothing for stalled midway, then goes on
	Endless     float64 // goes on until its client leaves; a whole answer never comes

	// Now is the clock of what answers say about when they were made. Default time.Now.
	Now func() time.Time
}

// defaults of what a variable does not say.
func defaults() Settings {
	return Settings{Version: "dev", Order: 3, FirstToken: 30 * time.Millisecond, PerToken: 2 * time.Millisecond, Now: time.Now}
}

// variables are the environment variables by name: what they set.
func (s *Settings) variables() map[string]any {
	return map[string]any{
		"VERSION": &s.Version, "ORDER": &s.Order, "FIRST_TOKEN": &s.FirstToken, "PER_TOKEN": &s.PerToken, "SEED": &s.Seed, "IGNORE_SEED": &s.IgnoreSeed,
		"ERRORS": &s.Errors, "RAMBLE": &s.Ramble, "REFUSE": &s.Refuse, "BREAK_JSON": &s.BreakJSON, "REPEAT": &s.Repeat, "EMPTY": &s.Empty,
		"CUT": &s.Cut, "ABORT": &s.Abort, "STREAM_ERROR": &s.StreamError, "STALL": &s.Stall, "ENDLESS": &s.Endless,
	}
}

// SettingsFrom reads the environment; an error names the variable.
func SettingsFrom(env func(string) string) (Settings, error) {
	s := defaults()
	known := s.variables()
	for _, name := range slices.Sorted(maps.Keys(known)) {
		value := env(name)
		if value == "" {
			continue
		}
		if err := set(known[name], value); err != nil {
			return s, fmt.Errorf("model server: %s is %q, expected %w", name, value, err)
		}
	}
	return s, nil
}

func set(to any, value string) (err error) {
	switch to := to.(type) {
	case *string:
		*to = value
	case *int:
		if *to, err = strconv.Atoi(value); err != nil || *to < 1 || *to > ngram.MaxOrder {
			return fmt.Errorf("a whole number from 1 to %d", ngram.MaxOrder)
		}
	case *uint64:
		if *to, err = strconv.ParseUint(value, 10, 64); err != nil {
			return fmt.Errorf("a whole number of at least 0")
		}
	case *bool:
		if *to, err = strconv.ParseBool(value); err != nil {
			return fmt.Errorf("true or false")
		}
	case *time.Duration:
		if *to, err = time.ParseDuration(value); err != nil || *to < 0 || *to > time.Minute {
			return fmt.Errorf("a duration such as 30ms, at most 1m")
		}
	case *float64:
		if *to, err = strconv.ParseFloat(strings.TrimSpace(value), 64); err != nil || !(*to >= 0 && *to <= 1) {
			return fmt.Errorf("a share from 0 to 1")
		}
	}
	return nil
}
