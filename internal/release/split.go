package release

// Share is one version's part of a split.
type Share struct {
	Version VersionID `json:"version"`
	Weight  Weight    `json:"weight"`
}

// Split is the whole assignment of traffic to versions. It names versions,
// never the moving words stable and canary. Shares are sorted by version, each
// version at most once, and sum to Full; a zero share may be listed (a version
// that matches or mirrors point at must be).
type Split struct {
	Salt    string    `json:"salt"` // seeds the sticky hash: the run's name
	Shares  []Share   `json:"shares"`
	Rest    VersionID `json:"rest"` // the version that gets what nobody else does, and that shields
	Matched []Matched `json:"matched,omitempty"`
	Mirror  *Mirror   `json:"mirror,omitempty"`
}

// Matched sends the requests that match to a version whatever its weight.
type Matched struct {
	Match   Match     `json:"match"`
	Version VersionID `json:"version"`
}

// Mirror copies a share of requests to a version whose answer is not used.
type Mirror struct {
	Version VersionID `json:"version"`
	Share   Weight    `json:"share"`
}

// Of returns the weight of a version, 0 when it has none.
func (s Split) Of(v VersionID) Weight {
	for _, x := range s.Shares {
		if x.Version == v {
			return x.Weight
		}
	}
	return 0
}
