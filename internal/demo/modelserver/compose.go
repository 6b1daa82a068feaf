package modelserver

import (
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/haldane-project/haldane/internal/demo/ngram"
)

// said is a whole answer. Its pieces, joined, are the text, the refusal or the
// arguments of a call.
type said struct {
	kind          string // text, refusal or call
	tool          string // the name of the tool that is called
	pieces        []string
	finish        string // stop, length or tool_calls
	input, output int    // tokens
}

func (x said) text() string { return strings.Join(x.pieces, "") }

// refusal is what the model says to a question that it does not answer.
const refusal = "I'm sorry, but I can't help with that."

// forbidden are subjects of questions that are refused.
var forbidden = []string{"bomb", "bombs", "dynamite", "explosives", "poisoning", "weapon", "weapons", "password", "passwords", "suicide"}

// compose makes the answer; equal questions, fates and dice give equal answers.
func compose(a ask, f fate, dice *rand.Rand) (said, error) {
	x := said{kind: "text", finish: "stop", input: max(1, ngram.Count(a.prompt))}
	a.sampling.About = a.user
	var text string
	var err error
	t := a.wanted()
	switch {
	case f.empty:
	case f.refuse || a.refused():
		x.kind, text = "refusal", refusal
	case t != nil:
		x.kind, x.tool = "call", t.name
		text, err = speaker{a, dice}.value(t.parameters)
		text = f.broken(text)
	case a.format != nil:
		text, err = speaker{a, dice}.value(a.format)
		text = f.broken(text)
	default:
		text = speaker{a, dice}.talk(f)
	}
	if err != nil {
		return x, err
	}
	for _, stop := range a.stop {
		if i := strings.Index(text, stop); i >= 0 && stop != "" && x.kind == "text" {
			text = text[:i]
		}
	}
	x.pieces = ngram.Split(text)
	if x.kind == "call" {
		x.finish = "tool_calls"
	}
	if len(x.pieces) > a.most {
		x.pieces, x.finish = x.pieces[:a.most], "length"
	}
	x.output = len(x.pieces)
	return x, nil
}

// wanted is the tool to call, or nil.
func (a ask) wanted() *tool {
	asked := subjects(a.user)
	for i, t := range a.tools {
		switch a.choice {
		case "none":
			return nil
		case "required", t.name:
			return &a.tools[i]
		case "auto":
			for _, w := range subjects(strings.ReplaceAll(t.name, "_", " ") + " " + t.description) {
				if slices.Contains(asked, w) {
					return &a.tools[i]
				}
			}
		}
	}
	return nil
}

var ban = regexp.MustCompile(`(?i)\b(?:never|do not|don't) (?:speak of|speak about|talk about|answer questions about) ([^.\n]*)`)

// refused reports whether the subject is forbidden, by the model or by its
// instructions.
func (a ask) refused() bool {
	no := forbidden
	for _, m := range ban.FindAllStringSubmatch(a.system, -1) {
		no = append(slices.Clip(no), subjects(m[1])...)
	}
	for _, w := range subjects(a.user) {
		if slices.Contains(no, w) {
			return true
		}
	}
	return false
}

// subjects are a text's words of more than three letters.
func subjects(text string) []string {
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) })
	return slices.DeleteFunc(words, func(w string) bool {
		return len(w) < 4 || slices.Contains([]string{"what", "when", "with", "that", "this", "from", "about", "tell", "have", "which", "does"}, w)
	})
}

// speaker answers one question.
type speaker struct {
	ask
	dice *rand.Rand
}

var length = regexp.MustCompile(`(?i)\b(one|two|three|four|five|six|seven|eight|nine|ten|\d{1,2}) sentences?\b`)

var numbers = []string{"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"}

// sentences is how many the instructions ask for; zero: as the model likes.
func (a ask) sentences() int {
	m := length.FindStringSubmatch(a.system)
	if m == nil {
		return 0
	}
	if n, err := strconv.Atoi(m[1]); err == nil {
		return n
	}
	return slices.Index(numbers, strings.ToLower(m[1]))
}

// ramblings is how many sentences a version says that rambles.
const ramblings = 14

// talk is an answer in prose.
func (s speaker) talk(f fate) string {
	s.sampling.Continue = ""
	if s.continues {
		s.sampling.Continue = s.prompt
	}
	want := s.sentences()
	if f.ramble {
		want = max(ramblings, 4*want)
	}
	text := s.say(want)
	if f.repeat {
		one, _, _ := strings.Cut(text, ".")
		text = strings.Repeat(one+".", 8)
	}
	if !s.continues {
		text = strings.TrimPrefix(text, " ")
	}
	return text
}

// say draws a number of sentences, or a paragraph.
func (s speaker) say(sentences int) string {
	var sb strings.Builder
	s.sampling.Endless = sentences > 0
	ends, tokens := 0, 0
	s.model.Generate(s.sampling, s.dice, func(word string) bool {
		sb.WriteString(word)
		tokens++
		if word == "." {
			ends++
		}
		// One token more than allowed shows that the limit was what ended it.
		return tokens <= s.most && (sentences == 0 || ends < sentences)
	})
	return sb.String()
}

// phrase is a sentence without its end, for a field of a structured answer.
func (s speaker) phrase(about string) string {
	s.sampling.About, s.sampling.Continue, s.most = about+" "+s.user, "", 40
	return strings.TrimSuffix(strings.TrimSpace(s.say(1)), ".")
}

// broken is a structured answer as a version writes it that breaks JSON.
func (f fate) broken(text string) string {
	if !f.breakJSON {
		return text
	}
	switch f.how % 3 {
	case 0:
		return "Sure! Here is the JSON you asked for:\n```json\n" + text + "\n```"
	case 1:
		return strings.TrimSuffix(text, text[max(0, len(text)-1):])
	}
	return strings.ReplaceAll(text, `":`, `" =`)
}
