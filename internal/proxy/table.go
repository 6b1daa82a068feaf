package proxy

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"net/http"
	"strings"

	"github.com/haldane-project/haldane/internal/release"
)

// Table is a compiled routing. It never changes after it was made; only the
// counters of the pools that it points at do.
type Table struct {
	config  release.Embedded
	split   release.Split
	seed    uint64 // hash state after the salt
	targets map[release.VersionID]*target
	order   []*target // as drawn: by version, Rest last
	rest    *target
	rules   []rule
	names   map[string]*target // what the test header may say, lower case
	mirror  *mirror
	shield  shield
	editing []*rewrite // of the versions whose requests' bodies are rewritten
	// interpreter understands what requests and answers say; nil: nobody does
	interpreter Interpreter
}

// target is one version as this table sees it.
type target struct {
	version   release.VersionID
	weight    release.Weight
	pool      *pool
	instances []*instance
	rewrite   *rewrite
}

// Split returns the split in force.
func (t *Table) Split() release.Split { return t.split }

func compile(r Routing, p *Proxy) (*Table, error) {
	t := &Table{
		config: r.Config, split: r.Split, seed: hashSeed(r.Split.Salt),
		targets: map[release.VersionID]*target{}, names: map[string]*target{},
		shield: compileShield(r.Config.Shield), interpreter: r.Interpreter,
	}
	if len(r.Split.Shares) == 0 {
		return t, nil
	}
	if err := t.addShares(r.Split); err != nil {
		return nil, err
	}
	for _, m := range r.Split.Matched {
		rl, err := compileRule(m, t.targets)
		if err != nil {
			return nil, err
		}
		t.rules = append(t.rules, rl)
	}
	plans := map[release.VersionID][]address{}
	for _, b := range r.Backends {
		if err := t.addBackend(b, plans); err != nil {
			return nil, err
		}
	}
	if err := t.addMirror(r.Split.Mirror); err != nil {
		return nil, err
	}
	t.addNames(r.Names)
	t.connect(p, plans) // cannot fail: nothing of the proxy changes unless all is well
	return t, nil
}

func (t *Table) addShares(s release.Split) error {
	var sum release.Weight
	for _, x := range s.Shares {
		if x.Weight < 0 || x.Weight > release.Full {
			return fmt.Errorf("the weight of version %s is %d: expected 0 to %d", x.Version, x.Weight, release.Full)
		}
		if t.targets[x.Version] != nil {
			return fmt.Errorf("version %s stands twice in the split", x.Version)
		}
		sum += x.Weight
		c := &target{version: x.Version, weight: x.Weight}
		t.targets[x.Version] = c
		if x.Version == s.Rest {
			t.rest = c
			continue
		}
		t.order = append(t.order, c)
	}
	if sum != release.Full {
		return fmt.Errorf("the weights of the split sum to %d: expected %d", sum, release.Full)
	}
	if t.rest == nil {
		return fmt.Errorf("version %q, which is to get the rest, is not among the shares of the split", s.Rest)
	}
	t.order = append(t.order, t.rest)
	return nil
}

func (t *Table) addBackend(b release.Backend, plans map[release.VersionID][]address) error {
	c := t.targets[b.Version]
	if c == nil {
		return nil // instances of a version that is not routed to
	}
	for _, s := range b.Addresses {
		a, err := parseAddress(s)
		if err != nil {
			return fmt.Errorf("version %s: %w", b.Version, err)
		}
		plans[b.Version] = append(plans[b.Version], a)
	}
	var err error
	c.rewrite, err = compileRewrite(b.Rewrite)
	if err != nil {
		return fmt.Errorf("version %s: %w", b.Version, err)
	}
	if c.rewrite.edits() {
		t.editing = append(t.editing, c.rewrite)
	}
	return nil
}

func (t *Table) addNames(names map[release.VersionID]string) {
	for v, c := range t.targets {
		if n := names[v]; n != "" {
			t.names[strings.ToLower(n)] = c
		}
	}
	for v, c := range t.targets {
		t.names[string(v)] = c
	}
	t.names["stable"] = t.rest
	if len(t.order) == 2 {
		t.names["canary"] = t.order[0]
	}
}

func (t *Table) connect(p *Proxy, plans map[release.VersionID][]address) {
	for v, c := range t.targets {
		c.connect(p.pools, v, plans[v], dialing{limits: p.limits, response: t.config.Timeouts.Response})
	}
	if t.mirror != nil {
		t.mirror.connect(t, p, plans)
	}
}

// connect gives the target its pool, which is made where there is none.
func (c *target) connect(pools map[release.VersionID]*pool, v release.VersionID, plan []address, d dialing) {
	pl := pools[v]
	if pl == nil {
		pl = &pool{version: v, instances: map[address]*instance{}}
		pools[v] = pl
	}
	c.pool, c.instances = pl, pl.connect(plan, d)
}

// pick is what was decided about a request before it is sent.
type pick struct {
	to     *target
	drawn  *target // whose weight counts; differs from to by fallback
	route  release.Route
	unit   uint64
	user   uint64
	cookie string // new sticky key to be set; empty: none
}

// choose draws the version of a request. k is the sticky key's hash.
func (t *Table) choose(r *http.Request, k key) (pk pick) {
	pk.unit, pk.user = k.hash, k.user
	pk.drawn, pk.route = t.asked(r), release.ByTest
	if pk.drawn == nil {
		pk.drawn, pk.route = t.matched(r, k), release.ByMatch
	}
	if pk.drawn == nil {
		pk.drawn, pk.route = t.draw(k), release.BySplit
		if t.rest != nil && t.rest.weight > 0 && len(t.rest.instances) == 0 {
			pk.route = release.ByFallback // those of Rest are refused: the others alone are no random draw
		}
	}
	pk.to = pk.drawn
	if pk.to != nil && len(pk.to.instances) == 0 {
		pk.to, pk.route = t.rest, release.ByFallback
	}
	if pk.to != nil && len(pk.to.instances) == 0 {
		pk.to = nil
	}
	return pk
}

// asked returns the version that the test header names, nil if it names none.
func (t *Table) asked(r *http.Request) *target {
	if t.config.TestHeader == "" {
		return nil
	}
	v := r.Header.Get(t.config.TestHeader)
	if v == "" {
		return nil
	}
	return t.names[strings.ToLower(v)]
}

func (t *Table) matched(r *http.Request, k key) *target {
	for i := range t.rules {
		if t.rules[i].holds(r, k) {
			return t.rules[i].to
		}
	}
	return nil
}

// draw assigns by the key's hash, or at random where there is no key. The
// shares lie one after the other with Rest last, so that a version whose weight
// is raised takes users from Rest only.
func (t *Table) draw(k key) *target {
	if len(t.order) == 0 {
		return nil
	}
	h := k.hash
	if !k.set {
		h = rand.Uint64()
	}
	u := point(h)
	for _, c := range t.order {
		if u < c.weight {
			return c
		}
		u -= c.weight
	}
	return t.rest
}

// point maps a hash to 0 .. Full-1, evenly.
func point(h uint64) release.Weight {
	hi, _ := bits.Mul64(h, uint64(release.Full))
	return release.Weight(hi)
}
