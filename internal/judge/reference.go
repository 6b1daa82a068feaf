package judge

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
)

// inputs are the arguments of a reference case; which are set depends on its
// method.
type inputs struct {
	Batches    []refBatch     `json:"batches"`
	Components []refComponent `json:"components"`
	Intervals  []refInterval  `json:"intervals"`

	ThetaC float64 `json:"theta_c"`
	ThetaS float64 `json:"theta_s"`

	Rho      numbers   `json:"rho"`
	Prior    []float64 `json:"prior"`
	Alt      []float64 `json:"alt"`
	Rho0     float64   `json:"rho0"`
	Delta    float64   `json:"delta"`
	Stakes   []float64 `json:"lambda_fractions"`
	Psi      float64   `json:"psi"`
	X        []float64 `json:"x"`
	Theta0   []float64 `json:"theta0"`
	Alpha    numbers   `json:"alpha"`
	YA       []float64 `json:"ya"`
	YB       []float64 `json:"yb"`
	BetaP    float64   `json:"beta_prior"`
	RCanary  []float64 `json:"r_canary"`
	RStable  []float64 `json:"r_stable"`
	LogE     []float64 `json:"log_e"`
	Weights  []float64 `json:"weights"`
	Arm1     values    `json:"arm1"`
	Arm2     values    `json:"arm2"`
	NErrors  int       `json:"n_errors"`
	HistBad  float64   `json:"hist_errors"`
	HistN    float64   `json:"hist_requests"`
	G0       float64   `json:"g0"`
	Horizon  float64   `json:"T"`
	NC       float64   `json:"nc"`
	NS       float64   `json:"ns"`
	NA       float64   `json:"na"`
	NB       float64   `json:"nb"`
	W        float64   `json:"w"`
	A        float64   `json:"a"`
	B        float64   `json:"b"`
	S        float64   `json:"s"`
	V        float64   `json:"v"`
	VOpt     float64   `json:"v_opt"`
	VMin     float64   `json:"v_min"`
	AlphaOpt float64   `json:"alpha_opt"`
	TOpt     float64   `json:"t_opt"`
	TMin     float64   `json:"t_min"`
	T        float64   `json:"t"`
	BandA    float64   `json:"-"` // "A": set by decodeInputs, JSON names do not tell a from A
	C        float64   `json:"c"`
	Eta      float64   `json:"eta"`
	G        float64   `json:"g"`
	H        float64   `json:"h"`
	P        float64   `json:"p"`
	Worse    float64   `json:"worse"`
	Better   float64   `json:"better"`
	PS       float64   `json:"ps"`
	PC       float64   `json:"pc"`
	PCanary  float64   `json:"p_canary"`
	NCanary  float64   `json:"n_canary"`
	PStable  float64   `json:"p_stable"`
	NStable  float64   `json:"n_stable"`
	Tau2     float64   `json:"tau2"`
}

type refBatch struct {
	W  float64 `json:"w"`
	N  float64 `json:"n"`
	NC float64 `json:"nc"`
	EC float64 `json:"ec"`
	NS float64 `json:"ns"`
	ES float64 `json:"es"`
}

func (b refBatch) counts() counts { return counts{w: b.W, nc: b.NC, ec: b.EC, ns: b.NS, es: b.ES} }

type refComponent struct {
	Kind   string  `json:"kind"`
	V      float64 `json:"v"`
	Prior  float64 `json:"prior"`
	Period float64 `json:"period"`
}

type refInterval struct {
	W      float64 `json:"w"`
	Canary float64 `json:"errors_canary"`
	Total  float64 `json:"errors_total"`
}

// numbers is one number or a list of them.
type numbers []float64

// UnmarshalJSON takes both forms.
func (n *numbers) UnmarshalJSON(b []byte) error {
	var one float64
	if json.Unmarshal(b, &one) == nil {
		*n = numbers{one}
		return nil
	}
	return json.Unmarshal(b, (*[]float64)(n))
}

func (n numbers) first() float64 {
	if len(n) == 0 {
		return math.NaN()
	}
	return n[0]
}

// values is a list of numbers, or "integers 1..1000".
type values []float64

// maxReference bounds what one case may ask for.
const maxReference = 20_000

// UnmarshalJSON takes both forms.
func (v *values) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) != nil {
		return json.Unmarshal(b, (*[]float64)(v))
	}
	var lo, hi int
	if _, err := fmt.Sscanf(strings.TrimSpace(text), "integers %d..%d", &lo, &hi); err != nil || hi < lo || hi-lo > maxReference {
		return fmt.Errorf("%q is no list of numbers, expected a list or \"integers 1..1000\"", text)
	}
	for x := lo; x <= hi; x++ {
		*v = append(*v, float64(x))
	}
	return nil
}

func decodeInputs(raw json.RawMessage) (inputs, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return inputs{}, err
	}
	// encoding/json matches names without regard to case, so names that differ
	// in case only are taken out first.
	in := inputs{}
	for _, f := range []struct {
		name string
		to   *float64
	}{{"A", &in.BandA}, {"T", &in.Horizon}} {
		if v, ok := fields[f.name]; ok {
			if err := json.Unmarshal(v, f.to); err != nil {
				return inputs{}, fmt.Errorf("%s: %w", f.name, err)
			}
			delete(fields, f.name)
		}
	}
	rest, err := json.Marshal(fields)
	if err != nil {
		return inputs{}, err
	}
	horizon := in.Horizon
	if err := json.Unmarshal(rest, &in); err != nil {
		return inputs{}, err
	}
	if horizon != 0 {
		in.Horizon = horizon
	}
	return in, in.check()
}

func (in *inputs) check() error {
	if in.NErrors < 0 || in.NErrors > 5000 {
		return fmt.Errorf("n_errors is %d, expected 0 to 5000", in.NErrors)
	}
	if len(in.Batches) > maxReference || len(in.Arm1) > maxReference || len(in.Arm2) > maxReference {
		return fmt.Errorf("more than %d batches or values", maxReference)
	}
	for _, b := range in.Batches {
		if b.EC > b.NC && b.NC > 0 || b.ES > b.NS && b.NS > 0 {
			return errors.New("a batch has more bad units than units")
		}
	}
	return nil
}

// figure is one named result of a reference method.
type figure struct {
	name   string
	values []float64
}

func one(name string, x float64) figure { return figure{name, []float64{x}} }

// mixtureFigures are the log of the prior's average of e-values and the parts
// of its sum.
func mixtureFigures(logE, prior []float64) []figure {
	xs, total := make([]float64, len(logE)), 0.0
	for _, p := range prior {
		total += p
	}
	for i, x := range logE {
		xs[i] = x + math.Log(prior[i]/total)
	}
	return []figure{one("log_e", logSumExp(xs)), {"log_components", xs}}
}
