// Package ngram is a small real language model: an interpolated n-gram model
// over words with absolute discounting, trained in milliseconds on the text in
// this directory. It is what the sample model server serves, so that tests, the
// demo and the example meet answers that vary as those of a model do. It must
// know no network, clock or random source of its own.
//
// Read this file first, then token.go. Source of the formula: Chen and Goodman,
// "An Empirical Study of Smoothing Techniques for Language Modeling" (1998),
// section 2.7.
package ngram

import (
	"cmp"
	_ "embed"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
)

// Text is what the sample server's models are trained on: paragraphs,
// separated by empty lines.
//
//go:embed text.txt
var Text string

// MaxOrder is the largest n of a model.
const MaxOrder = 6

// discount is small for so small a text: most of what it has seen it has seen
// once, and a larger one would make word salad.
const discount = 0.25

// Model is a trained model. It is not changed after Train and may be used by
// many goroutines.
type Model struct {
	order  int
	words  []string // by token; token 0 is the end of a paragraph
	ids    map[string]int32
	counts []map[string]*follow // by the length of the history, below order
	topics []map[int32]bool     // the content words of each paragraph
}

// follow counts what came after one history, the most frequent first.
type follow struct {
	total int
	next  []counted
}

type counted struct {
	token int32
	count int
}

// end is the token that closes a paragraph.
const end int32 = 0

// Train makes a model of an order from 1 to MaxOrder.
func Train(text string, order int) (*Model, error) {
	if order < 1 || order > MaxOrder {
		return nil, fmt.Errorf("ngram: the order is %d, expected 1 to %d", order, MaxOrder)
	}
	m := &Model{order: order, words: []string{""}, ids: map[string]int32{}}
	for range order {
		m.counts = append(m.counts, map[string]*follow{})
	}
	for paragraph := range strings.SplitSeq(text, "\n\n") {
		if tokens := m.learn(Split(strings.Join(strings.Fields(paragraph), " "))); len(tokens) > 0 {
			m.count(append(tokens, end))
		}
	}
	if len(m.words) < 2 {
		return nil, fmt.Errorf("ngram: the text has no words")
	}
	for _, histories := range m.counts {
		for _, f := range histories {
			slices.SortFunc(f.next, func(a, b counted) int { return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(a.token, b.token)) })
		}
	}
	return m, nil
}

// learn adds the words of a paragraph to the vocabulary and to its topics.
func (m *Model) learn(words []string) []int32 {
	tokens := make([]int32, len(words))
	topic := map[int32]bool{}
	for i, w := range words {
		if i == 0 {
			w = " " + w // the beginning of a paragraph is no word of its own
		}
		id, ok := m.ids[w]
		if !ok {
			id = int32(len(m.words))
			m.ids[w] = id
			m.words = append(m.words, w)
		}
		tokens[i] = id
		if content(w) {
			topic[id] = true
		}
	}
	if len(topic) > 0 {
		m.topics = append(m.topics, topic)
	}
	return tokens
}

func (m *Model) count(tokens []int32) {
	history := make([]int32, m.order-1) // paragraphs begin after ends
	for _, t := range tokens {
		for n := range m.order {
			k := key(history[len(history)-n:])
			f := m.counts[n][k]
			if f == nil {
				f = &follow{}
				m.counts[n][k] = f
			}
			f.add(t)
		}
		history = append(history, t)
	}
}

func (f *follow) add(t int32) {
	f.total++
	for i := range f.next {
		if f.next[i].token == t {
			f.next[i].count++
			return
		}
	}
	f.next = append(f.next, counted{t, 1})
}

// key packs a history into a map key.
func key(history []int32) string {
	b := make([]byte, 0, 4*MaxOrder)
	for _, t := range history {
		b = append(b, byte(t), byte(t>>8), byte(t>>16))
	}
	return string(b)
}

// Order is the model's n.
func (m *Model) Order() int { return m.order }

// Words is the number of words that the model knows.
func (m *Model) Words() int { return len(m.words) - 1 }

// Sampling says how words are drawn.
type Sampling struct {
	Temperature float64 // 0: always the likeliest word
	TopP        float64 // only the likeliest words that have this share after a history; 0 or 1: all
	// Continue is a text that the words go on from; empty: a paragraph begins.
	Continue string
	// About is a text whose topic is favoured.
	About string
	// Endless never ends a paragraph; the next one begins instead.
	Endless bool
}

// Generate draws word after word, each with the space before it, until the
// paragraph ends or yield returns false. Equal dice give equal words.
func (m *Model) Generate(s Sampling, dice *rand.Rand, yield func(word string) bool) {
	d := drawing{Sampling: s, near: m.near(s.About), dice: dice}
	history := append(make([]int32, m.order-1), m.tokens(s.Continue)...)
	for {
		t := m.next(&d, history[len(history)-m.order+1:])
		history = append(history, t)
		if t == end {
			if !s.Endless {
				return
			}
			continue
		}
		if !yield(m.words[t]) {
			return
		}
	}
}

// drawing is one Generate under way.
type drawing struct {
	Sampling
	near map[int32]bool
	dice *rand.Rand
}

// next draws from P_n(w|h) = (max(c(hw) - D, 0) + D N(h) P_{n-1}(w|h')) / c(h),
// where P_0 is even: it takes one of the words that followed the longest known
// history, or backs off to a shorter one. Temperature, TopP and the topic weigh
// the words after each history.
func (m *Model) next(d *drawing, history []int32) int32 {
	for n := len(history); n >= 0; n-- {
		f := m.counts[n][key(history[len(history)-n:])]
		if f == nil {
			continue
		}
		back := discount * float64(len(f.next)) / float64(f.total)
		if d.Temperature <= 0 || d.dice.Float64() >= sharpened(back, d.Temperature) {
			return d.word(f)
		}
	}
	return int32(d.dice.IntN(len(m.words)))
}

// sharpened is a probability at a temperature.
func sharpened(p, temperature float64) float64 {
	if temperature == 1 {
		return p
	}
	yes, no := math.Pow(p, 1/temperature), math.Pow(1-p, 1/temperature)
	return yes / (yes + no)
}

// word draws one of the words that followed a history.
func (d *drawing) word(f *follow) int32 {
	weight := func(c counted) float64 {
		w := float64(c.count) - discount
		if d.near[c.token] {
			w *= favour
		}
		if d.Temperature > 0 && d.Temperature != 1 {
			w = math.Pow(w, 1/d.Temperature)
		}
		return w
	}
	best, most, sum := f.next[0].token, 0.0, 0.0
	for _, c := range f.next {
		w := weight(c)
		if sum += w; w > most {
			best, most = c.token, w
		}
	}
	if d.Temperature <= 0 {
		return best
	}
	if d.TopP > 0 && d.TopP < 1 {
		sum *= d.TopP // the most frequent come first
	}
	x := d.dice.Float64() * sum
	for _, c := range f.next {
		if x -= weight(c); x < 0 {
			return c.token
		}
	}
	return best
}

// favour multiplies the probability of words near the topic.
const favour = 6

// near is the set of content words of the paragraphs that share the most words
// with a text.
func (m *Model) near(text string) map[int32]bool {
	asked := map[int32]bool{}
	for _, w := range Split(text) {
		if id, ok := m.ids[" "+strings.ToLower(strings.TrimSpace(w))]; ok && content(m.words[id]) {
			asked[id] = true
		}
	}
	best, out := 1, map[int32]bool{}
	for _, topic := range m.topics {
		shared := 0
		for id := range asked {
			if topic[id] {
				shared++
			}
		}
		if shared < best {
			continue
		}
		if shared > best {
			best, out = shared, map[int32]bool{}
		}
		for id := range topic {
			out[id] = true
		}
	}
	return out
}
