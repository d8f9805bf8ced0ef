package report

import (
	"fmt"
	"strings"

	"github.com/byhand/byhand/internal/human"
)

// The grid of the chain's picture, in pixels.
const (
	colWidth = 262
	colGap   = 34
	boxH     = 50
	rowPitch = 70
	rowsTop  = 176
)

// maxChainRows is how many layers the picture shows; the table has all.
const maxChainRows = 24

func col(n int) float64 { return 2 + float64(n)*(colWidth+colGap) }

// chainPicture draws the way from the name to the lower dirs.
func (b *builder) chainPicture() *picture {
	p := &picture{
		ID: "chain", W: col(4) - colGap + 2, Title: "The chain of digests",
		Desc: "From the name to manifest and config, and from these for each layer: the digest of the compressed layer, " +
			"the diff ID of its tar, the chain ID of the stack so far, and the lower dir that has it for a name. " +
			"The table below has the same in full.",
	}
	b.chainHead(p)
	layers := b.page.Layers
	y := float64(rowsTop)
	prev := -1
	for _, i := range elide(len(layers), maxChainRows) {
		if i > prev+1 {
			p.text("t dim mid", p.W/2, y+18, "… %s more, in the table below …", counted(int64(i-prev-1), "layer"))
			y += 40
		}
		b.chainRow(p, i, y, i > 0 && prev == i-1)
		y += rowPitch
		prev = i
	}
	p.H = y - rowPitch + boxH + 8
	if len(layers) == 0 {
		p.text("t dim", col(0), y, "The image has no layers.")
		p.H = y + 10
	}
	return p
}

// elide chooses which of n rows to show if there is room for most.
func elide(n, most int) []int {
	var list []int
	for i := range n {
		if n <= most || i < most*2/3 || i >= n-most/3 {
			list = append(list, i)
		}
	}
	return list
}

// docBox draws one of the documents at the top.
func docBox(p *picture, x float64, title, line, note string, match bool, tip string) {
	p.rect("box", x, 4, colWidth, boxH+18, tip)
	p.text("t strong", x+14, 26, "%s", title)
	p.text("t mono", x+14, 45, "%s", fit(line, colWidth-24, 7.9))
	p.text("t small dim", x+14, 63, "%s", fit(note, colWidth-24, 6.3))
	if match {
		p.text("t ok end", x+colWidth-12, 26, "✓ match")
	}
}

func (b *builder) chainHead(p *picture) {
	img := b.in.Image
	docBox(p, col(0), "Name", fitEnd(b.page.Name, colWidth-26, 7.9), nameNote(b), false, b.page.Name)
	docs := []check{}
	for _, c := range b.page.Checks {
		if c.What == "Index" || c.What == "Manifest" || c.What == "Config" {
			docs = append(docs, c)
		}
	}
	manifest, config := 0, 0
	for i, c := range docs {
		n := i + 1
		switch c.What {
		case "Manifest":
			manifest = n
		case "Config":
			config = n
		}
		docBox(p, col(n), c.What, human.Short(c.Calculated), c.Of+byWhom(c.StatedBy), c.Match, c.Calculated)
		p.arrow("ln", col(n)-colGap+2, 38, col(n)-4, 38)
	}
	if len(img.Layers) == 0 {
		return
	}
	mid := float64(colWidth) / 2
	// From the documents to the columns of what they state.
	bottom := float64(4 + boxH + 18)
	p.arrow("ln", col(manifest)+mid-24, bottom, col(manifest)+mid-24, 94, col(0)+mid, 94, col(0)+mid, 124)
	p.arrow("ln", col(config)+mid+24, bottom, col(config)+mid+24, 108, col(1)+mid, 108, col(1)+mid, 124)
	heads := []struct{ title, note string }{
		{"Layers", "manifest: layers[]"},
		{"Diff IDs", "config: rootfs.diff_ids[]"},
		{"Chain IDs", "calculated from the diff IDs"},
		{"Lower dirs", "in the store, one per chain ID"},
	}
	for i, h := range heads {
		p.text("t strong mid", col(i)+mid, 142, "%s", h.title)
		p.text("t small dim mid", col(i)+mid, 160, "%s", h.note)
	}
}

func nameNote(b *builder) string {
	ref := b.in.Image.Reference
	if ref.Digest != "" {
		return "with a digest: it names these bytes"
	}
	return "may name another image tomorrow"
}

func byWhom(s string) string {
	if s == "" {
		return ", stated by nothing"
	}
	head, _, _ := strings.Cut(s, ",")
	return ", stated by " + head
}

func (b *builder) chainRow(p *picture, i int, y float64, joined bool) {
	l := &b.page.Layers[i]
	mid := y + boxH/2
	for n, c := range []struct{ title, digest, tip, mark string }{
		{fmt.Sprintf("Layer %d · %s", l.Number, l.Compressed), human.Short(l.Digest), l.Digest, mark(l.BlobRead)},
		{fmt.Sprintf("Diff ID %d · %s", l.Number, l.Tar), human.Short(l.DiffID), l.DiffID, mark(true)},
		{fmt.Sprintf("Chain ID %d", l.Number), human.Short(l.ChainID), l.ChainID, ""},
		{fmt.Sprintf("Lower dir %d", l.Number), "", l.Dir, ""},
	} {
		x := col(n)
		p.rect("box", x, y, colWidth, boxH, c.tip)
		p.strip("fill "+l.Colour, x+1, y+8, 5, boxH-16, "")
		p.text("t strong", x+16, y+21, "%s", c.title)
		if n == 3 {
			p.text("t mono", x+16, y+40, "layers/%.8s…/diff", human.Short(l.ChainID))
		} else {
			p.text("t mono", x+16, y+40, "%s", c.digest)
		}
		if c.mark != "" {
			p.text("t ok end", x+colWidth-12, y+21, "%s", c.mark)
		}
		if n > 0 {
			p.arrow("ln", x-colGap+2, mid, x-4, mid)
		}
	}
	if joined {
		x := col(2) + colWidth/2
		p.arrow("ln", x, y-rowPitch+boxH+1, x, y-3)
	}
}

func mark(read bool) string {
	if read {
		return "✓ match"
	}
	return ""
}
