package compare

import (
	"encoding/json"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/haldane-project/haldane/internal/release"
)

// maxShown bounds one text that is kept for people, in bytes.
const maxShown = 16 << 10

const masked = "[masked]"

// secretNames are members of JSON whose values are masked always, and
// secretTexts what is masked wherever it stands.
var (
	secretNames = regexp.MustCompile(`(?i)^(.*[-_])?(passw(or)?d|secret|token|authorization|cookie|credentials?|api[-_]?key|(access|private|secret)[-_]?key)$|(?i)(apiKey|accessToken|idToken|refreshToken|clientSecret)$`)
	secretTexts = []*regexp.Regexp{
		regexp.MustCompile(`(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}`),
		regexp.MustCompile(`\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*)?`), // JSON web tokens
		regexp.MustCompile(`\b(sk|pk|ghp|gho|xox[a-z])[-_][A-Za-z0-9_-]{12,}`),       // keys of well-known services
		regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(-----END [A-Z ]*PRIVATE KEY-----)?`),
	}
)

// masks takes secrets out of what is kept.
type masks struct {
	fields map[string]bool
	texts  []*regexp.Regexp
}

func newMasks(k release.Keeping) *masks {
	m := &masks{fields: map[string]bool{}, texts: secretTexts}
	for _, f := range k.Fields {
		m.fields[strings.ToLower(f)] = true
	}
	for _, t := range k.Texts {
		if re, err := regexp.Compile(t); err == nil { // the manifest has refused others
			m.texts = append(m.texts[:len(m.texts):len(m.texts)], re)
		}
	}
	return m
}

// show makes bytes a text for people: JSON is set out in lines, so that two of
// them can be read side by side.
func (m *masks) show(body []byte) string {
	if v, ok := decode(body); ok {
		if b, err := json.MarshalIndent(m.value(v), "", "  "); err == nil {
			return m.prose(string(b))
		}
	}
	if !utf8.Valid(body) {
		return "[not a text]"
	}
	return m.prose(string(body))
}

// value masks the members that are secret; it changes v.
func (m *masks) value(v any) any {
	switch x := v.(type) {
	case map[string]any:
		for name, y := range x {
			if m.fields[strings.ToLower(name)] || secretNames.MatchString(name) {
				x[name] = masked
				continue
			}
			x[name] = m.value(y)
		}
	case []any:
		for i := range x {
			x[i] = m.value(x[i])
		}
	}
	return v
}

func (m *masks) prose(s string) string {
	for _, re := range m.texts {
		s = re.ReplaceAllString(s, masked)
	}
	if len(s) > maxShown {
		s = strings.ToValidUTF8(s[:maxShown], "") + " [cut]"
	}
	return s
}

// answer makes an answer a text: the words of a model, or the body.
func (m *masks) answer(l *release.Leg) string {
	a, why := read(l)
	switch {
	case why != "":
		return "[" + why + "]"
	case a.hasText:
		return m.prose(a.text)
	}
	return m.show(a.body)
}
