package compare

import (
	"encoding/json"
	"mime"
	"net/url"
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

// assigned is name=value, as in forms, addresses and commands.
var assigned = regexp.MustCompile(`[A-Za-z0-9_.%\[\]-]+=[^\s&;,"'<>]+`)

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

// show makes bytes of a content type a text for people: JSON is set out in lines,
// so that two of them can be read side by side, and so are the fields of forms.
func (m *masks) show(body []byte, kind string) string {
	if v, ok := decode(body); ok {
		if b, err := json.MarshalIndent(m.value(v), "", "  "); err == nil {
			return m.prose(string(b))
		}
	}
	if !utf8.Valid(body) {
		return "[not a text]"
	}
	if kind, _, _ := mime.ParseMediaType(kind); kind == "application/x-www-form-urlencoded" {
		return m.form(string(body))
	}
	return m.lines(string(body))
}

// form sets out the fields of a form as they were before they were encoded.
func (m *masks) form(body string) string {
	var out []string
	for field := range strings.SplitSeq(body, "&") {
		name, value, _ := strings.Cut(field, "=")
		name, value = unescaped(name), unescaped(value)
		switch v, ok := decode([]byte(value)); {
		case m.secret(name):
			value = masked
		case ok:
			value = m.compact(v, value)
		}
		out = append(out, name+"="+value)
	}
	return m.prose(strings.Join(out, "\n"))
}

// unescaped is a part of a form; one that is badly encoded stays as it is.
func unescaped(s string) string {
	if u, err := url.QueryUnescape(s); err == nil && utf8.ValidString(u) {
		return u
	}
	return s
}

// lines masks a text of which any line may be JSON, such as the data of events.
func (m *masks) lines(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		before, datum, isData := strings.Cut(line, "data:")
		if !isData || before != "" {
			before, datum = "", line
		} else {
			before = "data: "
		}
		if v, ok := decode([]byte(datum)); ok {
			lines[i] = before + m.compact(v, strings.TrimSpace(datum))
		}
	}
	return m.prose(strings.Join(lines, "\n"))
}

// compact is JSON on one line, masked; what is neither object nor list stays as it
// was written.
func (m *masks) compact(v any, written string) string {
	switch v.(type) {
	case map[string]any, []any:
		if b, err := json.Marshal(m.value(v)); err == nil {
			return string(b)
		}
	}
	return written
}

// secret reports whether what has this name is masked.
func (m *masks) secret(name string) bool {
	return m.fields[strings.ToLower(name)] || secretNames.MatchString(name)
}

// value masks the members that are secret; it changes v.
func (m *masks) value(v any) any {
	switch x := v.(type) {
	case map[string]any:
		for name, y := range x {
			if m.secret(name) {
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
	s = assigned.ReplaceAllStringFunc(s, func(pair string) string {
		name, _, _ := strings.Cut(pair, "=")
		if m.secret(unescaped(name)) {
			return name + "=" + masked
		}
		return pair
	})
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
		if v, ok := decode([]byte(a.text)); ok {
			return m.prose(m.compact(v, a.text))
		}
		return m.lines(a.text)
	}
	return m.show(a.body, l.Type)
}
