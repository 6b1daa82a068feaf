package manifest

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/haldane-project/haldane/api/v1alpha1"
	"github.com/haldane-project/haldane/internal/release"
)

// checker collects the problems of one object while it is compiled. Every
// method returns a usable value also where it reports a problem.
type checker struct {
	options
	problems Errors
}

func newChecker(opts []Option) *checker {
	c := &checker{}
	for _, o := range opts {
		o(&c.options)
	}
	return c
}

func (c *checker) add(path, hint, format string, args ...any) {
	c.problems = append(c.problems, Problem{Path: path, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// Bounds of durations and lists.
const (
	maxDuration = 720 * time.Hour
	maxSteps    = 50
	maxMetrics  = 50
	maxItems    = 256 // of any other list or map
	maxText     = 4096
)

// duration checks 0 < d <= 720h; with zero, 0 is allowed too.
func (c *checker) duration(path string, d *metav1.Duration, otherwise time.Duration, zero bool) time.Duration {
	switch {
	case d == nil:
		return otherwise
	case d.Duration < 0:
		c.add(path, "", "%s"+negative, d.Duration)
	case d.Duration == 0 && !zero:
		c.add(path, "", "0s is too short; expected more than 0s, at most %s", short(maxDuration))
	case d.Duration > maxDuration:
		c.add(path, "", "%s"+tooLong, short(d.Duration))
	default:
		return d.Duration
	}
	return otherwise
}

// short writes a duration without its empty units: 2h, not 2h0m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

var percentText = regexp.MustCompile(`^(\d{1,3})(?:\.(\d+))?\s?%$`)

// weight reads a share of 0 to 100 % at a resolution of 0.01 %.
func (c *checker) weight(path string, p v1alpha1.Percent) release.Weight {
	if p.Type == intstr.Int {
		if p.IntVal < 0 || p.IntVal > 100 {
			c.add(path, "", "%d "+notAPercent, p.IntVal)
			return 0
		}
		return release.Weight(p.IntVal) * (release.Full / 100)
	}
	m := percentText.FindStringSubmatch(p.StrVal)
	if m == nil {
		hint := "write a whole number of percent, such as 5, or text with a percent sign, such as \"0.5%\""
		if _, err := strconv.ParseFloat(p.StrVal, 64); err == nil {
			hint = "write \"" + p.StrVal + "%\" if percent is meant"
		}
		c.add(path, hint, "%s "+notAShare, printable(p.StrVal))
		return 0
	}
	fraction := strings.TrimRight(m[2], "0")
	if len(fraction) > 2 {
		c.add(path, "", "%s is finer than 0.01 %%", p.StrVal)
		return 0
	}
	whole, _ := strconv.Atoi(m[1])
	hundredths, _ := strconv.Atoi((fraction + "00")[:2])
	w := release.Weight(whole*100 + hundredths)
	if w > release.Full {
		c.add(path, "", "%s is more than 100 %%", p.StrVal)
		return 0
	}
	return w
}

// share is an optional weight.
func (c *checker) share(path string, p *v1alpha1.Percent, otherwise release.Weight) release.Weight {
	if p == nil {
		return otherwise
	}
	return c.weight(path, *p)
}

// probability reads a share between low and high, as a fraction of 1.
func (c *checker) probability(path string, p *v1alpha1.Percent, otherwise, low, high float64) float64 {
	if p == nil {
		return otherwise
	}
	before := len(c.problems)
	v := float64(c.weight(path, *p)) / float64(release.Full)
	if len(c.problems) == before && (v < low || v > high) {
		c.add(path, "", "%s is not between %s and %s", percentOf(v), percentOf(low), percentOf(high))
		return otherwise
	}
	return v
}

func percentOf(v float64) string { return strconv.FormatFloat(v*100, 'g', 6, 64) + "%" }

// word checks an enumeration; empty means otherwise.
func word[T ~string](c *checker, path, value string, otherwise T, known ...T) T {
	if value == "" {
		return otherwise
	}
	words := make([]string, len(known))
	for i, k := range known {
		if words[i] = string(k); words[i] == value {
			return k
		}
	}
	c.add(path, didYouMean(value, words), "%s%s", unknownWord, printable(value))
	return otherwise
}

// choice is one of the fields of which exactly one must be set.
type choice struct {
	name string
	set  bool
}

// one checks that exactly one field is set and returns its name.
func (c *checker) one(path string, choices ...choice) string {
	var names, set []string
	for _, x := range choices {
		names = append(names, x.name)
		if x.set {
			set = append(set, x.name)
		}
	}
	switch len(set) {
	case 1:
		return set[0]
	case 0:
		c.add(path, "", "%s", needs(names))
	default:
		c.add(join(path, set[1]), "", "%s", onlyOne(names, set[0]))
	}
	return ""
}

// atMost bounds the length of a list.
func (c *checker) atMost(path string, n, most int) {
	if n > most {
		c.add(path, "", "has %d entries; at most %d are taken", n, most)
	}
}

// count bounds an optional whole number.
func count[T int32 | int64](c *checker, path string, n *T, otherwise, low, high T) T {
	if n == nil {
		return otherwise
	}
	if *n < low || *n > high {
		c.add(path, "", "%d "+notBetween, *n, strconv.FormatInt(int64(low), 10), strconv.FormatInt(int64(high), 10))
		return otherwise
	}
	return *n
}

// text checks a line of text that must not be empty.
func (c *checker) text(path, value, what string) {
	switch {
	case value == "":
		c.add(path, "", "is missing; expected %s", what)
	case len(value) > maxText:
		c.add(path, "", "has %d bytes; at most %d are taken", len(value), maxText)
	case strings.ContainsAny(value, "\x00\r\n"):
		c.add(path, "", "holds a line break or a NUL; expected %s", what)
	}
}

var label = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

// name checks a DNS label (RFC 1123), which every later use takes.
func (c *checker) name(path, value, what string) {
	const most = 63
	switch {
	case value == "":
		c.add(path, "", "is missing; expected the name of %s", what)
	case len(value) > most:
		c.add(path, "", "has %d characters; at most %d are taken", len(value), most)
	case !label.MatchString(value):
		c.add(path, "lower-case letters, digits and dashes, with a letter or digit at both ends", "%s"+notAName, printable(value))
	}
}

var subdomain = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)

// object checks the name of an object of a cluster (RFC 1123 subdomain).
func (c *checker) object(path, value, what string) {
	switch {
	case value == "":
		c.add(path, "", "is missing; expected the name of %s", what)
	case len(value) > 253 || !subdomain.MatchString(value):
		c.add(path, "lower-case letters, digits, dashes and dots, with a letter or digit at both ends", "%s"+notAName, printable(value))
	}
}
