package report

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// picture is an SVG drawing. Colours are classes of the style sheet.
type picture struct {
	ID, Title, Desc string
	W, H            float64
	Shapes          []shape
}

// shape is a part of a picture: a rectangle, a line of text, or a path.
type shape struct {
	Kind       string // rect, text, path
	Class      string
	X, Y, W, H float64
	R          float64 // of a rectangle's corners
	D          string  // of a path
	Text       string
	Tip        string // told when pointed at
}

func (p *picture) rect(class string, x, y, w, h float64, tip string) {
	p.Shapes = append(p.Shapes, shape{Kind: "rect", Class: class, X: x, Y: y, W: w, H: h, R: min(6, w/4, h/4), Tip: tip})
}

// strip is a rectangle with square corners.
func (p *picture) strip(class string, x, y, w, h float64, tip string) {
	p.Shapes = append(p.Shapes, shape{Kind: "rect", Class: class, X: x, Y: y, W: w, H: h, Tip: tip})
}

func (p *picture) text(class string, x, y float64, format string, a ...any) {
	p.Shapes = append(p.Shapes, shape{Kind: "text", Class: class, X: x, Y: y, Text: fmt.Sprintf(format, a...)})
}

// arrow leads through points given as x, y, x, y, ….
func (p *picture) arrow(class string, points ...float64) {
	var d strings.Builder
	for i := 0; i+1 < len(points); i += 2 {
		op := "L"
		if i == 0 {
			op = "M"
		}
		fmt.Fprintf(&d, "%s%g %g", op, points[i], points[i+1])
	}
	p.Shapes = append(p.Shapes, shape{Kind: "path", Class: class, D: d.String()})
}

// fit shortens s so that it takes at most width pixels at so many a character.
func fit(s string, width, per float64) string {
	most := int(width / per)
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	if most < 2 {
		return ""
	}
	runes := []rune(s)
	return string(runes[:most-1]) + "…"
}

// fitEnd is fit for paths, whose end tells the most.
func fitEnd(s string, width, per float64) string {
	most := int(width / per)
	runes := []rune(s)
	if len(runes) <= most {
		return s
	}
	if most < 2 {
		return ""
	}
	return "…" + string(runes[len(runes)-most+1:])
}
