package report

import (
	"fmt"
	"path"
	"slices"

	"github.com/byhand/byhand/internal/imagetree"
)

// maxSlabs is how many layers the overlay's picture shows.
const maxSlabs = 14

// sample is a file that shows what the overlay does.
type sample struct {
	path  string
	what  string
	node  *node
	worth int64
}

// samples finds one file each that a layer deletes, that one replaces, that
// comes from the base and from the top, and a directory made opaque.
func samples(root *shown, layers int) []sample {
	best := map[string]sample{}
	consider := func(kind, name string, s *shown, worth int64) {
		if old, ok := best[kind]; !ok || worth > old.worth {
			best[kind] = sample{name, kind, s.node, worth}
		}
	}
	var walk func(prefix string, s *shown)
	walk = func(prefix string, s *shown) {
		for _, k := range s.kids {
			name := prefix + k.name
			if len(k.node.events) > 0 {
				judge(k, name, layers, consider)
			}
			walk(name+"/", k)
		}
	}
	walk("/", root)
	var list []sample
	for _, kind := range []string{"deleted", "replaced", "opaque", "base", "top"} {
		s, ok := best[kind]
		if ok && len(list) < 4 && !slices.ContainsFunc(list, func(o sample) bool { return o.node == s.node }) {
			list = append(list, s)
		}
	}
	return list
}

func judge(k *shown, name string, layers int, consider func(kind, name string, s *shown, worth int64)) {
	events := k.node.events
	last := events[len(events)-1]
	switch {
	case last.kind == imagetree.Deleted && len(events) > 1:
		consider("deleted", name, k, last.hidden+1)
	case last.opaque:
		consider("opaque", name, k, last.hidden+1)
	case !k.dir && k.layer != 0 && last.kind == imagetree.Changed:
		consider("replaced", name, k, last.hidden+last.added)
	case !k.dir && len(events) == 1 && k.layer == 1:
		consider("base", name, k, k.size)
	case !k.dir && len(events) == 1 && int(k.layer) == layers:
		consider("top", name, k, k.size)
	}
}

const (
	slabH    = 46
	slabStep = 54
	slabLeft = 286
	cellW    = 190
)

// overlayPicture draws the stack that overlayfs makes of the lower dirs, with
// a few of the image's own files.
func (b *builder) overlayPicture() *picture {
	list := b.samples
	p := &picture{
		ID: "stack", W: slabLeft + float64(max(len(list), 2))*cellW + 6, Title: "The overlay mount",
		Desc: "From below: the lower dirs, base first, read-only; the upper dir, which takes what the container writes; " +
			"and the merged tree that a process in the container sees.",
	}
	y := 30.0
	for i, s := range list {
		p.Shapes = append(p.Shapes, shape{
			Kind: "text", Class: "t mono mid", X: slabLeft + float64(i)*cellW + cellW/2 - 4, Y: 18,
			Text: fitEnd(printable(s.path, maxName), cellW-14, 7.9), Tip: printable(s.path, maxName),
		})
	}
	b.slab(p, y, "slab merged", "rootfs/", "merged: what the container sees")
	for i, s := range list {
		b.cell(p, i, y, s, 0)
	}
	y += slabStep + 14
	p.arrow("ln", 143, y-3, 143, y-19)
	p.text("t small dim", 154, y-6, "looked up from the top down")
	b.slab(p, y, "slab upper", "upper/", "empty; takes all that is written")
	p.rect("gone", slabLeft, y+7, 2*cellW-10, slabH-14, "")
	p.text("t dim mid", slabLeft+cellW-5, y+28, "%s", fit("work/ beside it: overlayfs’s own, always empty", 2*cellW-20, 7))
	y += slabStep
	prev := len(b.page.Layers)
	for _, n := range b.slabLayers(list) {
		if n < prev-1 {
			p.text("t dim", 20, y+14, "… %s …", counted(int64(prev-1-n), "more layer"))
			y += 26
		}
		l := &b.page.Layers[n]
		b.slab(p, y, "slab", fmt.Sprintf("lower/%d", l.Number), b.layerInBrief(n))
		p.strip("fill "+l.Colour, 1, y+8, 5, slabH-16, "")
		for i, s := range list {
			b.cell(p, i, y, s, l.Number)
		}
		y += slabStep
		prev = n
	}
	p.H = y
	return p
}

// slabLayers chooses the layers to draw, top first: all, or those that have
// the samples, and the ends.
func (b *builder) slabLayers(list []sample) []int {
	n := len(b.page.Layers)
	want := map[int]bool{0: true, n - 1: true}
	for _, s := range list {
		for _, ev := range s.node.events {
			want[int(ev.layer)-1] = true
		}
	}
	var out []int
	for i := n - 1; i >= 0; i-- {
		if n <= maxSlabs || want[i] && len(out) < maxSlabs-1 || i == 0 {
			out = append(out, i)
		}
	}
	return out
}

func (b *builder) slab(p *picture, y float64, class, title, note string) {
	p.rect(class, 1, y, p.W-2, slabH, "")
	p.text("t mono strong", 16, y+20, "%s", title)
	p.text("t small dim", 16, y+37, "%s", fit(note, slabLeft-24, 6.1))
}

func (b *builder) layerInBrief(n int) string {
	st := b.union.layers[n]
	text := fmt.Sprintf("adds %s", thousands(st.Added))
	if st.Changed > 0 {
		text += fmt.Sprintf(", changes %s", thousands(st.Changed))
	}
	if st.Deleted > 0 {
		text += fmt.Sprintf(", deletes %s", thousands(st.Deleted))
	}
	return text
}

// cell draws what a layer has of a sample; layer 0 is the merged tree.
func (b *builder) cell(p *picture, i int, y float64, s sample, layer int) {
	x := slabLeft + float64(i)*cellW
	w, h := float64(cellW-10), float64(slabH-14)
	base := path.Base(s.path)
	file := func(from int, text string) {
		p.rect("fill "+b.page.Layers[from-1].Colour, x, y+7, w, h, printable(s.path, maxName))
		p.text("t on mid", x+w/2, y+7+h/2+5, "%s", fit(printable(text, maxName), w-12, 7.2))
	}
	if layer == 0 {
		if s.node.layer == 0 {
			p.rect("gone", x, y+7, w, h, "")
			p.text("t dim mid", x+w/2, y+7+h/2+5, "not there")
			return
		}
		file(int(s.node.layer), fmt.Sprintf("%s (from %d)", fit(base, w-80, 7.2), s.node.layer))
		return
	}
	for _, ev := range s.node.events {
		switch {
		case int(ev.layer) != layer:
		case ev.kind == imagetree.Deleted:
			p.rect("white", x, y+7, w, h, "")
			p.text("t bad mid", x+w/2, y+7+h/2+5, "✕ whiteout")
		case ev.opaque:
			file(layer, "opaque directory")
		default:
			file(layer, base)
		}
	}
}
