package judge

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// grouped writes a count with thin groups of three: 3 100.
func grouped(x float64) string {
	s := strconv.FormatFloat(math.Round(x), 'f', 0, 64)
	var b strings.Builder
	for i, c := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteByte(' ')
		}
		b.WriteRune(c)
	}
	return b.String()
}

// about rounds a forecast to two digits.
func about(x float64) string {
	if x >= 100 {
		unit := math.Pow(10, math.Floor(math.Log10(x))-1)
		x = math.Round(x/unit) * unit
	}
	return grouped(x)
}

// short writes a number with three significant digits.
func short(x float64) string { return strconv.FormatFloat(x, 'g', 3, 64) }

// span writes a forecast of seconds: "40 s", "3 min", "2 h".
func span(s float64) string {
	switch {
	case s < 90:
		return grouped(max(1, math.Ceil(s))) + " s"
	case s < 90*60:
		return grouped(math.Ceil(s/60)) + " min"
	case s < 48*3600:
		return grouped(math.Ceil(s/3600)) + " h"
	}
	return grouped(math.Ceil(s/86400)) + " days"
}

func percent(x float64) string {
	return strconv.FormatFloat(math.Round(x*100*1000)/1000, 'g', 3, 64) + " %"
}

// amount writes a value of a metric's unit.
func amount(x float64, unit string) string {
	switch {
	case unit == "s" && x < 1:
		return short(x*1000) + " ms"
	case unit == "s":
		return short(x) + " s"
	case unit == "share":
		return percent(x)
	case unit == "B":
		x, unit = Bytes(x)
	}
	return strings.TrimSpace(short(x) + " " + unit)
}

// Bytes brings a number of bytes to the unit that fits.
func Bytes(x float64) (float64, string) {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for ; math.Abs(x) >= 1000 && i < len(units)-1; i++ {
		x /= 1024
	}
	return x, units[i]
}

// odds writes evidence of x nats as the chance of so much against a version
// that is no worse.
func odds(x float64) string {
	if x > 30 {
		return "less than 1 : 1 000 000 000"
	}
	return "1 : " + about(math.Exp(max(0, x)))
}

// marginWords says what a proof shows.
func marginWords(m Metric, looseness float64) string {
	rho := 1 + (m.Ratio-1)*looseness
	unit := m.unit()
	switch {
	case m.Ratio > 0 && m.Harm == Fewer:
		return fmt.Sprintf("at least %s times", short(1/rho))
	case m.Ratio > 0 && m.Difference > 0:
		return fmt.Sprintf("at most %s times or %s more", short(rho), amount(m.Difference*looseness, unit))
	case m.Ratio > 0:
		return fmt.Sprintf("at most %s times", short(rho))
	case m.Difference > 0:
		return fmt.Sprintf("at most %s more", amount(m.Difference*looseness, unit))
	}
	return ""
}

// unit is how values of the metric are written.
func (m Metric) unit() string { return cmp.Or(displayUnit(m.Kind), m.Unit) }

// displayUnit is how values of a kind are written.
func displayUnit(k Kind) string {
	switch k {
	case Proportion, Agreement, ShareCheck:
		return "share"
	case Latency:
		return "s"
	}
	return ""
}
