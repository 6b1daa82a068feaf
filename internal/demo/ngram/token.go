package ngram

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Split cuts a text into tokens: a word with the space before it, or one mark.
// Joined again they are the text.
func Split(text string) []string {
	var out []string
	for text != "" {
		n := tokenLen(text)
		out = append(out, text[:n])
		text = text[n:]
	}
	return out
}

func tokenLen(s string) int {
	r, n := utf8.DecodeRuneInString(s)
	if r == ' ' && len(s) > 1 {
		r, m := utf8.DecodeRuneInString(s[1:])
		if !letter(r) {
			return n
		}
		n += m
		return n + wordLen(s[n:])
	}
	if letter(r) {
		return n + wordLen(s[n:])
	}
	return n
}

func wordLen(s string) int {
	i := strings.IndexFunc(s, func(r rune) bool { return !letter(r) && r != '\'' })
	if i < 0 {
		return len(s)
	}
	return i
}

func letter(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// Count is the number of tokens of a text. A long unknown word would be several
// tokens of a real model, so each four letters beyond the first eight count.
func Count(text string) int {
	n := 0
	for _, t := range Split(text) {
		n += 1 + max(0, (len(t)-8)/4)
	}
	return n
}

// tokens are the tokens of a text that the model knows.
func (m *Model) tokens(text string) []int32 {
	var out []int32
	for i, w := range Split(text) {
		if i == 0 && !strings.HasPrefix(w, " ") {
			w = " " + w
		}
		if id, ok := m.ids[w]; ok {
			out = append(out, id)
		}
	}
	return out
}

// content reports whether a token says what a text is about.
func content(token string) bool {
	w := strings.ToLower(strings.TrimSpace(token))
	return utf8.RuneCountInString(w) > 3 && !slices.Contains(function, w)
}

// function are the common words of English that say nothing of the subject.
var function = []string{"about", "after", "again", "also", "asked", "been", "before", "both", "came", "does", "each", "every", "from", "goes", "have", "here",
	"into", "many", "more", "most", "much", "must", "nobody", "only", "other", "said", "same", "should", "some", "than", "that", "their", "them", "then",
	"there", "these", "they", "this", "those", "very", "were", "what", "when", "where", "which", "while", "will", "with", "would", "your"}
