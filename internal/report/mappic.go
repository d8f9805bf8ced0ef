package report

import (
	"fmt"

	"github.com/byhand/byhand/internal/human"
)

// The static map, in pixels.
const (
	mapW     = 1180
	mapH     = 560
	headH    = 18
	mapRects = 1500 // at most
	minArea  = 60   // of a rectangle
)

// mapPicture draws the merged tree as rectangles by size, as far down as they
// are large enough to be seen.
func (b *builder) mapPicture() *picture {
	p := &picture{
		ID: "map", W: mapW, H: mapH, Title: "The files of the merged tree by size",
		Desc: "Each rectangle is a file or directory, as large as its bytes, in the colour of the layer that it comes from.",
	}
	m := &mapper{b: b, p: p}
	if b.root.bytes == 0 {
		p.H = 40
		p.text("t dim", 2, 24, "The image’s files have no content.")
		return p
	}
	m.dir("/", b.root, box{0, 0, mapW, mapH})
	return p
}

type mapper struct {
	b *builder
	p *picture
}

// dir draws what is in a directory, with a line for its name above.
func (m *mapper) dir(name string, s *shown, area box) {
	kids := s.bySize()
	sizes := make([]float64, 0, len(kids)+1)
	for _, k := range kids {
		sizes = append(sizes, float64(k.bytes))
	}
	if s.rest.bytes > 0 {
		sizes = append(sizes, float64(s.rest.bytes))
	}
	if len(sizes) == 0 {
		return
	}
	for i, a := range squarify(sizes, area) {
		if a.w*a.h < minArea || len(m.p.Shapes) > mapRects {
			break // the others are smaller still
		}
		if i == len(kids) {
			m.leaf(m.colour(s.rest.layer), fmt.Sprintf("%s more names", thousands(s.rest.names)), s.rest.bytes, name, a)
			break
		}
		m.draw(name, kids[i], a)
	}
}

func (m *mapper) draw(prefix string, k *shown, a box) {
	name := printable(k.name, maxName)
	if !k.dir || a.w < 70 || a.h < 52 {
		m.leaf(m.colour(k.mainLayer()), name, k.bytes, prefix, a)
		return
	}
	a = box{a.x + 1, a.y + 1, a.w - 2, a.h - 2}
	m.p.strip("dir", a.x, a.y, a.w, a.h, prefix+name+" · "+human.Bytes(k.bytes))
	m.p.text("t map strong", round(a.x+5), round(a.y+13), "%s", fit(name, a.w-8, 6.8))
	m.dir(prefix+name+"/", k, box{a.x + 2, a.y + headH, a.w - 4, a.h - headH - 2})
}

func (m *mapper) leaf(colour, name string, bytes int64, prefix string, a box) {
	m.p.strip("fill tile "+colour, round(a.x+0.5), round(a.y+0.5), round(max(a.w-1, 0.5)), round(max(a.h-1, 0.5)), prefix+name+" · "+human.Bytes(bytes))
	if a.w > 44 && a.h > 16 {
		if text := fit(name, a.w-8, 6.4); text == name || len(text) > 5 {
			m.p.text("t map on", round(a.x+5), round(a.y+13), "%s", text)
		}
	}
	if a.w > 60 && a.h > 32 {
		m.p.text("t map on dimmed", round(a.x+5), round(a.y+27), "%s", human.Bytes(bytes))
	}
}

func (m *mapper) colour(layer int32) string {
	if layer < 1 || int(layer) > len(m.b.page.Layers) {
		return "c-none"
	}
	return m.b.page.Layers[layer-1].Colour
}

func round(v float64) float64 { return float64(int(v*10+0.5)) / 10 }
