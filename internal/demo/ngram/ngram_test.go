package ngram

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func train(t testing.TB, order int) *Model {
	t.Helper()
	m, err := Train(Text, order)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func words(m *Model, s Sampling, seed uint64, most int) []string {
	var out []string
	m.Generate(s, rand.New(rand.NewPCG(seed, 1)), func(w string) bool {
		out = append(out, w)
		return len(out) < most
	})
	return out
}

// distribution is the formula, literally: the probability of each token.
func (m *Model) distribution(history []int32) []float64 {
	p := make([]float64, len(m.words))
	for i := range p {
		p[i] = 1 / float64(len(p))
	}
	for n := 0; n < m.order; n++ {
		f := m.counts[n][key(history[len(history)-n:])]
		if f == nil {
			return p
		}
		for i := range p {
			p[i] *= discount * float64(len(f.next)) / float64(f.total)
		}
		for _, c := range f.next {
			p[c.token] += (float64(c.count) - discount) / float64(f.total)
		}
	}
	return p
}

func TestWordsAreDrawnByTheFormula(t *testing.T) {
	const draws = 20_000
	for _, order := range []int{1, 2, 3, 5} {
		m := train(t, order)
		for _, text := range []string{"", "A canary is a", "an unheard gas", "the"} {
			history := append(make([]int32, order-1), m.tokens(text)...)
			p, sum, seen := m.distribution(history), 0.0, make([]int, len(m.words))
			d := drawing{Sampling: Sampling{Temperature: 1}, dice: rand.New(rand.NewPCG(1, 2))}
			for range draws {
				seen[m.next(&d, history[len(history)-order+1:])]++
			}
			for token, x := range p {
				sum += x
				if sd := math.Sqrt(x * (1 - x) / draws); math.Abs(float64(seen[token])/draws-x) > 5*sd+1e-4 {
					t.Errorf("order %d after %q: %q was drawn in %d of %d, expected a share of %.4f", order, text, m.words[token], seen[token], draws, x)
				}
			}
			if math.Abs(sum-1) > 1e-9 {
				t.Errorf("order %d after %q: the probabilities sum to %g", order, text, sum)
			}
		}
	}
}

// A longer history makes more fluent answers: that is what makes one version
// better than another.
func TestALongerHistoryIsMoreFluent(t *testing.T) {
	last := -1.0
	for order := 1; order <= 4; order++ {
		m := train(t, order)
		known, all := 0, 0
		for seed := range uint64(50) {
			w := words(m, Sampling{Temperature: 1}, seed, 60)
			for i := 4; i <= len(w); i++ {
				all++
				if strings.Contains(Text, strings.Join(w[i-4:i], "")) {
					known++
				}
			}
		}
		share := float64(known) / float64(all)
		t.Logf("order %d: %d words, %.0f%% of what it says in four words is in the text", order, m.Words(), 100*share)
		if share <= last {
			t.Errorf("order %d: %.3f of four words are in the text, order %d had %.3f", order, share, order-1, last)
		}
		last = share
	}
}

func TestSameDiceSameWords(t *testing.T) {
	m := train(t, 3)
	s := Sampling{Temperature: 0.8, TopP: 0.95, About: "What is firedamp?"}
	a, b, c := words(m, s, 7, 100), words(m, s, 7, 100), words(m, s, 8, 100)
	if !slices.Equal(a, b) {
		t.Errorf("one seed gave %q and %q", a, b)
	}
	if slices.Equal(a, c) {
		t.Errorf("two seeds gave the same %q", a)
	}
	cold := Sampling{}
	if a, b := words(m, cold, 1, 100), words(m, cold, 2, 100); !slices.Equal(a, b) || len(a) == 0 {
		t.Errorf("at temperature 0 two seeds gave %q and %q, expected the same", a, b)
	}
}

func TestTheTopicIsFavoured(t *testing.T) {
	m := train(t, 3)
	share := func(about string) int {
		n := 0
		for seed := range uint64(200) {
			if strings.Contains(strings.Join(words(m, Sampling{Temperature: 1, About: about}, seed, 60), ""), "lamp") {
				n++
			}
		}
		return n
	}
	if with, without := share("Who made the safety lamp?"), share(""); with < 2*without || with == 0 {
		t.Errorf("%d of 200 answers about the lamp name it, and %d of 200 others", with, without)
	}
}

func TestEndlessGoesOn(t *testing.T) {
	m := train(t, 4)
	if n := len(words(m, Sampling{Temperature: 1, Endless: true}, 3, 2000)); n != 2000 {
		t.Errorf("an endless answer ended after %d words", n)
	}
}

func TestTokensJoinToTheText(t *testing.T) {
	for _, text := range []string{Text, "", " ", "  two  spaces ", "Größe 12,5 don't\n\t{\"a\":1} 🐤", "\xff\xfe"} {
		if got := strings.Join(Split(text), ""); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
	if n := Count("A canary is a bird."); n != 6 {
		t.Errorf("counted %d tokens, expected 6", n)
	}
}

func TestTrainRefuses(t *testing.T) {
	for _, order := range []int{0, MaxOrder + 1} {
		if _, err := Train(Text, order); err == nil || !strings.Contains(err.Error(), "1 to 6") {
			t.Errorf("order %d gave %v", order, err)
		}
	}
	if _, err := Train(" \n\n ", 2); err == nil {
		t.Error("an empty text was accepted")
	}
}

func BenchmarkTrain(b *testing.B) {
	for b.Loop() {
		train(b, 4)
	}
}

func BenchmarkWord(b *testing.B) {
	m := train(b, 4)
	dice := rand.New(rand.NewPCG(1, 1))
	n := 0
	m.Generate(Sampling{Temperature: 0.8, Endless: true}, dice, func(string) bool { n++; return n < b.N })
}
