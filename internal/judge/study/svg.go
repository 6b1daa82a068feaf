package study

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// This file draws plain SVG that can be read on light and on dark pages.

// axis maps values to a length. Names, where given, are the ticks 0, 1, 2...
type axis struct {
	label  string
	lo, hi float64
	log    bool
	ticks  []float64
	names  []string
	format string // of ticks
}

// at is where a value lies, from 0 to 1.
func (a axis) at(v float64) float64 {
	if a.log {
		return (math.Log(max(v, a.lo)) - math.Log(a.lo)) / (math.Log(a.hi) - math.Log(a.lo))
	}
	return (v - a.lo) / (a.hi - a.lo)
}

func (a axis) tick(i int) (at float64, name string) {
	if len(a.names) > 0 {
		return a.at(float64(i)), a.names[i]
	}
	return a.at(a.ticks[i]), fmt.Sprintf(a.format, a.ticks[i])
}

func (a axis) count() int { return max(len(a.ticks), len(a.names)) }

// point of a series; open says that the value is a lower bound.
type point struct {
	x, y float64
	open bool
}

// series is one named set of points; lined ones are joined.
type series struct {
	name   string
	points []point
	lined  bool
	dashed bool // a limit rather than a measurement
}

// dotted reports whether its points are drawn: not where they are many.
func (s series) dotted() bool { return !s.dashed && len(s.points) <= 10 }

const (
	width, height            = 900.0, 400.0
	left, right, top, bottom = 64.0, 350.0, 44.0, 52.0
)

const style = `<style>
text{font:12px system-ui,sans-serif}.head{font-size:15px;font-weight:600}.line{fill:none;stroke-width:2}.ring{stroke-width:2}
.page{fill:#fff}.ink{fill:#1f2328}.soft{fill:#57606a}.grid{stroke:#d0d7de}.edge{stroke:#fff}
.c0 .line,.c0 .ring{stroke:#0969da}.c0 .fill{fill:#0969da}.c1 .line,.c1 .ring{stroke:#bc4c00}.c1 .fill{fill:#bc4c00}.c2 .line,.c2 .ring{stroke:#1a7f37}.c2 .fill{fill:#1a7f37}.c3 .line,.c3 .ring{stroke:#a3399b}.c3 .fill{fill:#a3399b}.c4 .line,.c4 .ring{stroke:#9a6700}.c4 .fill{fill:#9a6700}.c5 .line,.c5 .ring{stroke:#6e7781}.c5 .fill{fill:#6e7781}.c6 .line,.c6 .ring{stroke:#0e8a9a}.c6 .fill{fill:#0e8a9a}.c7 .line,.c7 .ring{stroke:#cf222e}.c7 .fill{fill:#cf222e}.c8 .line,.c8 .ring{stroke:#57606a}.c8 .fill{fill:#57606a}
@media (prefers-color-scheme: dark){.page{fill:#0d1117}.ink{fill:#e6edf3}.soft{fill:#9198a1}.grid{stroke:#30363d}.edge{stroke:#0d1117}
.c0 .line,.c0 .ring{stroke:#58a6ff}.c0 .fill{fill:#58a6ff}.c1 .line,.c1 .ring{stroke:#f0883e}.c1 .fill{fill:#f0883e}.c2 .line,.c2 .ring{stroke:#56d364}.c2 .fill{fill:#56d364}.c3 .line,.c3 .ring{stroke:#db7bd2}.c3 .fill{fill:#db7bd2}.c4 .line,.c4 .ring{stroke:#d7a726}.c4 .fill{fill:#d7a726}.c5 .line,.c5 .ring{stroke:#9198a1}.c5 .fill{fill:#9198a1}.c6 .line,.c6 .ring{stroke:#39c5cf}.c6 .fill{fill:#39c5cf}.c7 .line,.c7 .ring{stroke:#ff7b72}.c7 .fill{fill:#ff7b72}.c8 .line,.c8 .ring{stroke:#c9d1d9}.c8 .fill{fill:#c9d1d9}}
</style>`

// drawing writes elements.
type drawing struct{ strings.Builder }

func newDrawing(title string, high float64) *drawing {
	d := &drawing{}
	fmt.Fprintf(d, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" role="img" aria-label="%s">`, width, high, html.EscapeString(title))
	fmt.Fprintf(d, "\n%s\n<rect class=\"page\" width=\"%g\" height=\"%g\"/>\n", style, width, high)
	d.text(left, 24, "start", "ink head", title)
	return d
}

func (d *drawing) text(x, y float64, anchor, class, s string) {
	fmt.Fprintf(d, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", class, x, y, anchor, html.EscapeString(s))
}

func (d *drawing) rule(x1, y1, x2, y2 float64, class, dash string) {
	fmt.Fprintf(d, "<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke-dasharray=\"%s\"/>\n", class, x1, y1, x2, y2, dash)
}

func (d *drawing) dot(p point, x, y float64) {
	inside := "fill edge"
	if p.open {
		inside = "ring page"
	}
	fmt.Fprintf(d, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"4.5\"/>\n", inside, x, y)
}

func (d *drawing) done() string { return d.String() + "</svg>\n" }

// chart draws series over two axes with a legend on the right.
func chart(title string, x, y axis, all []series) string {
	d := newDrawing(title, height)
	px := func(v float64) float64 { return left + x.at(v)*(width-left-right) }
	py := func(v float64) float64 { return height - bottom - y.at(v)*(height-top-bottom) }
	for i := range y.count() {
		at, name := y.tick(i)
		h := height - bottom - at*(height-top-bottom)
		d.rule(left, h, width-right, h, "grid", "")
		d.text(left-8, h+4, "end", "soft", name)
	}
	for i := range x.count() {
		at, name := x.tick(i)
		d.text(left+at*(width-left-right), height-bottom+18, "middle", "soft", name)
	}
	d.text((left+width-right)/2, height-10, "middle", "soft", x.label)
	d.text(left, 40, "start", "soft", y.label)
	for k, s := range all {
		fmt.Fprintf(d, "<g class=\"c%d\">\n", k%9)
		d.series(s, px, py)
		h := top + 14 + 22*float64(k)
		dash := ""
		if s.dashed {
			dash = "5 4"
		}
		if s.lined {
			d.rule(width-right+14, h-4, width-right+34, h-4, "line", dash)
		}
		if s.dotted() {
			d.dot(point{}, width-right+24, h-4)
		}
		d.text(width-right+42, h, "start", "ink", s.name)
		fmt.Fprintln(d, "</g>")
	}
	return d.done()
}

func (d *drawing) series(s series, px, py func(float64) float64) {
	if s.lined {
		var path strings.Builder
		for i, p := range s.points {
			op := "L"
			if i == 0 {
				op = "M"
			}
			fmt.Fprintf(&path, "%s%.1f %.1f", op, px(p.x), py(p.y))
		}
		dash := ""
		if s.dashed {
			dash = "5 4"
		}
		fmt.Fprintf(d, "<path class=\"line\" stroke-dasharray=\"%s\" d=\"%s\"/>\n", dash, path.String())
	}
	if !s.dotted() {
		return
	}
	for _, p := range s.points {
		d.dot(p, px(p.x), py(p.y))
	}
}

// bar is one row of a bar chart.
type bar struct {
	name  string
	value float64
	label string
}

// bars draws rows with a dashed line at what was promised.
func bars(title string, x axis, promised float64, rows []bar) string {
	const row, names, labels = 30.0, 230.0, 170.0
	high := top + row*float64(len(rows)) + bottom
	d := newDrawing(title, high)
	px := func(v float64) float64 { return names + x.at(v)*(width-names-labels) }
	for i := range x.count() {
		_, name := x.tick(i)
		v := px(x.ticks[i])
		d.rule(v, top, v, high-bottom, "grid", "")
		d.text(v, high-bottom+18, "middle", "soft", name)
	}
	for i, b := range rows {
		h := top + row*float64(i)
		class := "c1"
		if b.value <= promised {
			class = "c0"
		}
		fmt.Fprintf(d, "<g class=\"%s\"><rect class=\"fill\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"3\"/></g>\n", class, names, h+6, max(2, px(b.value)-names), row-12)
		d.text(names-10, h+row/2+4, "end", "ink", b.name)
		at, line := px(b.value)+8, px(promised)
		if at < line && at+40 > line {
			at = line + 8
		}
		d.text(at, h+row/2+4, "start", "soft", b.label)
	}
	fmt.Fprint(d, "<g class=\"c7\">\n")
	d.rule(px(promised), top-4, px(promised), high-bottom, "line", "5 4")
	fmt.Fprint(d, "</g>\n")
	d.text((names+width-labels)/2, high-10, "middle", "soft", x.label)
	return d.done()
}
