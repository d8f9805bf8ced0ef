package report

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/byhand/byhand/internal/human"
	"github.com/byhand/byhand/internal/imagetree"
	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/pull"
)

// layerRow is what the page says about a layer.
type layerRow struct {
	Number                  int
	Colour                  string // class
	Command, Created        string // of its history entry
	Digest, DiffID, ChainID string
	Dir                     string
	BlobRead                bool
	Compressed, Tar         string
	Bytes                   string
	Files, Dirs             string
	Symlinks, HardLinks     string
	Added, Changed, Deleted string
	Whiteouts, Opaques      string
	HidesSome, WastesSome   bool
	Hides, Wasted           string
	WastedShare             string
	Bar, WastedBar          float64 // of 100: bytes of all layers' largest
	Skipped                 []string
	Notable                 []notable
	More                    string
}

// ID is the layer's number as text.
func (l *layerRow) ID() string { return strconv.Itoa(l.Number) }

// notable is one of the changes that weigh most.
type notable struct{ Kind, Word, Path, Bytes, Hidden string }

// historyRow is an entry of the image's history.
type historyRow struct {
	Layer            *layerRow // nil for one without
	Command, Created string
	Comment, Author  string
}

// colours is how many the style sheet has for layers; they repeat.
const colours = 12

func (b *builder) layers() {
	chain := overlay.ChainIDs(b.in.diffIDs())
	var largest int64
	for _, st := range b.stats {
		largest = max(largest, st.Bytes)
	}
	next := 0
	for i, l := range b.in.Image.Layers {
		st, does := b.stats[i], b.union.layers[i]
		n := func(count int) string { return thousands(int64(count)) }
		row := layerRow{
			Number: i + 1, Colour: "c-none",
			Digest: l.Descriptor.Digest.String(), DiffID: l.DiffID().String(), ChainID: chain[i].String(),
			BlobRead: b.in.verified(l), Compressed: human.Bytes(l.Descriptor.Size), Tar: human.Bytes(st.TarSize), Bytes: human.Bytes(st.Bytes),
			Files: n(st.Counts.Files), Dirs: n(st.Counts.Dirs), Symlinks: n(st.Counts.Symlinks), HardLinks: n(st.Counts.HardLinks),
			Whiteouts: n(st.Counts.Whiteouts), Opaques: n(st.Counts.Opaques),
			Added: thousands(does.Added), Changed: thousands(does.Changed), Deleted: thousands(does.Deleted),
			Hides: human.Bytes(does.Hides), HidesSome: does.Hides > 0,
			Wasted: human.Bytes(st.Hidden), WastedShare: percent(st.Hidden, st.Bytes), WastesSome: st.Hidden > 0,
		}
		row.Dir = "layers/" + strings.ReplaceAll(strings.TrimPrefix(row.ChainID, "sha256:"), ":", "-") + "/diff"
		if does.Added+does.Changed > 0 {
			row.Colour = fmt.Sprintf("c%d", next%colours)
			next++
		}
		if largest > 0 {
			row.Bar = 100 * float64(st.Bytes-st.Hidden) / float64(largest)
			row.WastedBar = 100 * float64(st.Hidden) / float64(largest)
		}
		for _, s := range b.in.Tree.Skipped(i + 1) {
			row.Skipped = append(row.Skipped, printable(s.String(), maxName))
		}
		b.page.Layers = append(b.page.Layers, row)
		if st.Bytes > 0 {
			b.page.Legend = append(b.page.Legend, legendEntry{i + 1, row.Colour, row.Bytes})
		}
	}
}

// history pairs the entries with the layers, in order. Where the numbers do
// not agree, what is left over stands alone.
func (b *builder) history() {
	layers, used, with := b.page.Layers, 0, 0
	for _, h := range b.in.Image.Spec.History {
		row := historyRow{
			Command: printable(h.CreatedBy, maxCommand), Comment: printable(h.Comment, maxValue),
			Author: printable(h.Author, maxName), Created: when(h.Created),
		}
		if !h.EmptyLayer {
			with++
			if used < len(layers) {
				row.Layer = &layers[used]
				row.Layer.Command, row.Layer.Created = row.Command, row.Created
				used++
			}
		}
		b.page.History = append(b.page.History, row)
	}
	for ; used < len(layers); used++ {
		b.page.History = append(b.page.History, historyRow{Layer: &layers[used]})
	}
	switch {
	case len(b.in.Image.Spec.History) == 0 && len(layers) > 0:
		b.page.Notes = append(b.page.Notes, "The config has no history: what made the layers is not known.")
	case with != len(layers):
		b.page.Notes = append(b.page.Notes, fmt.Sprintf(
			"The history speaks of %s, the image has %d: which entry made which layer is a guess.", counted(int64(with), "layer"), len(layers)))
	}
}

func when(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

func (b *builder) totals() {
	var compressed, tar, bytes, wasted int64
	for i, l := range b.in.Image.Layers {
		compressed += l.Descriptor.Size
		tar += b.stats[i].TarSize
		bytes += b.stats[i].Bytes
		wasted += b.stats[i].Hidden
	}
	b.page.Totals = totals{
		Layers: strconv.Itoa(len(b.in.Image.Layers)), Compressed: human.Bytes(compressed), Tar: human.Bytes(tar),
		Bytes: human.Bytes(bytes), Shown: human.Bytes(b.root.bytes), Lost: human.Bytes(wasted),
		Files: thousands(b.root.files), Efficiency: percent(b.root.bytes, bytes),
	}
	if bytes == 0 {
		b.page.Totals.Efficiency = "100.0 %"
	}
}

func (b *builder) head() {
	img, p := b.in.Image, b.page
	top := img.Manifest.Descriptor.Digest
	if img.Index != nil {
		top = img.Index.Descriptor.Digest
	}
	unread := int64(0)
	for _, c := range p.Checks {
		switch {
		case c.Match:
			p.Matches++
		case c.Expected != "":
			unread++
		}
	}
	if unread > 0 {
		p.Unread = counted(unread, "layer")
	}
	p.Lead = fmt.Sprintf("%s, %s. %s compressed, %s as a root filesystem.",
		printable(pull.FormatPlatform(img.Spec.Platform), maxName), counted(int64(len(img.Layers)), "layer"), p.Totals.Compressed, p.Totals.Shown)
	add := func(label, value, note string) {
		if value != "" {
			p.Facts = append(p.Facts, fact{label, value, note, strings.HasPrefix(value, "sha")})
		}
	}
	add("Platform", printable(pull.FormatPlatform(img.Spec.Platform), maxName), "")
	add("Created", when(img.Spec.Created), "")
	add("Author", printable(img.Spec.Author, maxName), "")
	add("Digest", top.String(), "what the name stands for")
	if img.Index != nil {
		add("Manifest", img.Manifest.Descriptor.Digest.String(), "for this platform")
	}
	add("Config", img.Config.Descriptor.Digest.String(), "the image ID")
	add("Media type", printable(img.Manifest.Descriptor.MediaType, maxName), "")
}

// notable picks for each layer the changes that weigh most, for readers
// without scripts and on paper; less of each if there are many layers.
func (b *builder) notable() {
	n := len(b.page.Layers)
	if n == 0 {
		return
	}
	most := min(12, max(2, 600/n))
	type found struct {
		notable
		weight int64
	}
	lists := make([][]found, n)
	less := func(a, c found) int { return cmp.Or(cmp.Compare(c.weight, a.weight), strings.Compare(a.Path, c.Path)) }
	var walk func(prefix string, s *shown)
	walk = func(prefix string, s *shown) {
		for _, k := range s.kids {
			name := path.Join(prefix, k.name)
			for _, ev := range k.node.events {
				weight := ev.added + ev.hidden
				if ev.kind == imagetree.Deleted || ev.opaque {
					weight += 1 << 20 // deletions are few, and tell much
				}
				list := &lists[ev.layer-1]
				if len(*list) == most && weight <= (*list)[most-1].weight {
					continue
				}
				*list = append(*list, found{notableOf(name, &ev), weight})
				slices.SortStableFunc(*list, less)
				*list = (*list)[:min(len(*list), most)]
			}
			walk(name, k)
		}
	}
	walk("/", b.root)
	for i, list := range lists {
		row := &b.page.Layers[i]
		for _, f := range list {
			row.Notable = append(row.Notable, f.notable)
		}
		does := b.union.layers[i]
		if all := does.Added + does.Changed + does.Deleted; all > int64(len(list)) {
			row.More = thousands(all - int64(len(list)))
		}
	}
}

func notableOf(name string, ev *event) notable {
	n := notable{Kind: string(rune(ev.kind)), Path: printable(name, maxName)}
	n.Word = map[imagetree.Kind]string{imagetree.Added: "added", imagetree.Changed: "changed", imagetree.Deleted: "deleted"}[ev.kind]
	if ev.opaque {
		n.Word = "opaque"
	}
	if ev.added > 0 {
		n.Bytes = human.Bytes(ev.added)
	}
	if ev.hidden > 0 {
		n.Hidden = human.Bytes(ev.hidden)
	}
	return n
}
