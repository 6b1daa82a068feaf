package status

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/haldane-project/haldane/internal/judge"
	"github.com/haldane-project/haldane/internal/release"
)

// Percent writes a weight: "10%", "0.5%".
func Percent(w release.Weight) string {
	return strconv.FormatFloat(float64(w)/100, 'f', -1, 64) + "%"
}

// Share writes a proportion with two significant figures: "0.41%", "12%".
func Share(p float64) string {
	x := 100 * p
	switch {
	case x == 0:
		return "0%"
	case x >= 99.95:
		return "100%"
	case x >= 10:
		return strconv.FormatFloat(x, 'f', 1, 64) + "%"
	}
	return number(x) + "%"
}

// Seconds writes an amount of seconds in the unit that fits: "84 ms", "1.2 s".
func Seconds(s float64) string {
	switch {
	case s <= 0:
		return "0 s"
	case s < 1e-3:
		return number(s*1e6) + " µs"
	case s < 1:
		return number(s*1e3) + " ms"
	}
	return number(s) + " s"
}

// Bytes writes an amount of bytes in the unit that fits: "47 MiB".
func Bytes(x float64) string {
	x, unit := judge.Bytes(x)
	return number(x) + " " + unit
}

// Odds writes evidence in nats as odds against the null: "1 : 4300". Evidence
// that does not speak against the canary is "none".
func Odds(nats float64) string {
	switch {
	case math.IsNaN(nats) || nats <= 0:
		return "none"
	case nats > math.Log(1e9):
		return "over 1 : 10^9"
	}
	x := math.Exp(nats)
	if x < 10 {
		return "1 : " + number(x)
	}
	scale := math.Pow(10, math.Floor(math.Log10(x))-1)
	return fmt.Sprintf("1 : %.0f", math.Round(x/scale)*scale)
}

// Duration writes a time span for people: "3 min 12 s".
func Duration(d time.Duration) string {
	if d > 0 && d < time.Second {
		return fmt.Sprintf("%d ms", max(1, d.Milliseconds()))
	}
	d = d.Round(time.Second)
	h, m, s := int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60
	switch {
	case h > 0:
		return fmt.Sprintf("%d h %d min", h, m)
	case m > 0 && s > 0:
		return fmt.Sprintf("%d min %d s", m, s)
	case m > 0:
		return fmt.Sprintf("%d min", m)
	}
	return fmt.Sprintf("%d s", s)
}

// number writes two significant figures below ten, three below a thousand.
func number(x float64) string {
	a := math.Abs(x)
	switch {
	case a == 0:
		return "0"
	case a < 0.0001 || a >= 1e15:
		return strconv.FormatFloat(x, 'g', 2, 64)
	case a >= 1e9:
		return number(x/1e9) + "G"
	case a >= 1e6:
		return number(x/1e6) + "M"
	case a >= 100:
		return strconv.FormatFloat(x, 'f', 0, 64)
	case a >= 10:
		return strings.TrimSuffix(strconv.FormatFloat(x, 'f', 1, 64), ".0")
	}
	digits := 1 - int(math.Floor(math.Log10(a)))
	return strconv.FormatFloat(x, 'f', digits, 64)
}

// ratio writes two decimals where they matter: 1.02 is not 1.0.
func ratio(x float64) string {
	if a := math.Abs(x); a >= 0.1 && a < 10 {
		return strconv.FormatFloat(x, 'f', 2, 64)
	}
	return number(x)
}
