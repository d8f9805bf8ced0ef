package report

import (
	"context"
	"html/template"

	"github.com/opencontainers/go-digest"

	"github.com/byhand/byhand/internal/imagetree"
	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/pull"
)

// MaxNames is how many files and directories a page holds if Options do not
// say otherwise: a few megabytes that a browser opens at once.
const MaxNames = 100_000

// Input is what a page is made of.
type Input struct {
	// Image is the resolved image, whose documents are verified.
	Image *pull.Image
	// Tree is built of the image's layers, in order, each of which was verified
	// to its end meanwhile.
	Tree *imagetree.Tree
	// Verified says whether the blob with a digest was read and verified in
	// this run. If nil, those of all layers were.
	Verified func(blob digest.Digest) bool
}

// Options change the page. The zero value is ready to use.
type Options struct {
	// Names is how many files and directories the page holds at most; those
	// with the most bytes are kept, the others summed up. 0 means MaxNames.
	Names int64
}

// verified says whether a layer's blob was.
func (in *Input) verified(l *pull.Layer) bool {
	return in.Verified == nil || in.Verified(l.Descriptor.Digest)
}

func (in *Input) diffIDs() []digest.Digest {
	ids := make([]digest.Digest, len(in.Image.Layers))
	for i, l := range in.Image.Layers {
		ids[i] = l.DiffID()
	}
	return ids
}

// Page is a page ready to be written.
type Page struct {
	Name, Lead string
	Facts      []fact
	Checks     []check
	Matches    int
	Unread     string // how many layers whose blobs were not read, as "2 layers"; empty for none
	Layers     []layerRow
	History    []historyRow
	Notes      []string // on the history, and on what was left out
	Chain      *picture
	Map        *picture
	Stack      *picture
	Mount      string
	MountNote  string
	Totals     totals
	Legend     []legendEntry
	Config     *configPart
	Left       string // what the data leaves out; empty if nothing
	Data       template.JS
}

// fact is a line of the head of the page.
type fact struct {
	Label, Value, Note string
	Mono               bool
}

// totals are over all layers.
type totals struct {
	Layers                              string
	Compressed, Tar, Bytes, Shown, Lost string
	Files                               string
	Efficiency                          string
}

// legendEntry is a colour's layer.
type legendEntry struct {
	Number       int
	Colour, Size string
}

// builder makes a page.
type builder struct {
	in      *Input
	page    *Page
	stats   []imagetree.Stats
	union   *union
	root    *shown
	samples []sample
}

// Build makes the page. Errors are those of the tree and of the digests of
// documents, [*overlay.DigestError], and ctx's.
func Build(ctx context.Context, in Input, o Options) (*Page, error) {
	if o.Names <= 0 {
		o.Names = MaxNames
	}
	b := &builder{in: &in, page: &Page{Name: printable(in.Image.Reference.String(), maxName)}}
	var err error
	if b.union, err = newUnion(ctx, in.Tree); err != nil {
		return nil, err
	}
	if b.stats, err = in.Tree.Stats(ctx); err != nil {
		return nil, err
	}
	if b.page.Checks, err = b.checks(); err != nil {
		return nil, err
	}
	b.root = sum(b.union.root)
	b.layers()
	b.history()
	b.totals()
	b.head()
	b.notable()
	b.samples = samples(b.root, len(b.page.Layers))
	b.left(cut(b.root, o.Names, b.union.names), o.Names)
	b.page.Chain = b.chainPicture()
	b.page.Map = b.mapPicture()
	b.mount()
	b.page.Config = b.config(ctx)
	b.page.Data = template.JS(encode(b.root)) // escaped by encode for this very place
	return b.page, nil
}

// left says what cut left out.
func (b *builder) left(n, most int64) {
	if n == 0 {
		return
	}
	b.page.Left = "This page names the " + thousands(most) + " files and directories with the most bytes. The other " +
		thousands(n) + " are summed up in the directories that hold them; all numbers count them too."
}

// mount draws the overlay, and tells the line that mounts it. The directory
// is an example, as the page is no bundle.
func (b *builder) mount() {
	if len(b.page.Layers) == 0 {
		return
	}
	b.page.Stack = b.overlayPicture()
	o := overlay.MountOptions{Upper: "/box/upper", Work: "/box/work", Target: "/box/rootfs"}
	for i := range b.page.Layers {
		o.Lower = append(o.Lower, "/box/lower/"+b.page.Layers[i].ID())
	}
	b.page.Mount = overlay.MountCommand(o)
	if len(o.Lower) > maxStack {
		b.page.MountNote = "overlayfs stacks at most " + counted(maxStack, "lower dir") + ": this image needs --rootfs flat."
	}
}

// maxStack is how many lower dirs the kernel takes (OVL_MAX_STACK).
const maxStack = 500
