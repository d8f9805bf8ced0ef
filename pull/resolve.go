package pull

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Document is a verified manifest, index or config: its exact bytes, and the
// descriptor with their media type, digest and size.
type Document struct {
	Descriptor ocispec.Descriptor
	Raw        []byte
}

// Image is a resolved image. All documents are verified; layers are opened one
// by one and verified as they stream.
type Image struct {
	Reference Reference
	// Index is the index that the reference names, nil if it names a manifest.
	// Where indexes are nested it is the outermost one.
	Index *Document
	// Manifest is the image manifest. Its descriptor has the platform that the
	// config states.
	Manifest Document
	Config   Document
	Spec     ocispec.Image // the parsed config
	Layers   []*Layer      // base first
}

// resolver finds one image.
type resolver struct {
	*source
	want     []Platform // best first
	wantName string
	probes   int     // entries without platform that may still be opened
	any      bool    // a manifest will do that is no image's
	have     nameSet // platforms seen
	outer    *Document
	odd      error // the last entry without platform that is no image
	chosen   bool  // an index says that the image is for the wanted platform
}

// node is a verified manifest or index.
type node struct {
	Document
	manifestDoc
	object   string
	statedBy string // what its digest was compared with, an Event.StatedBy
}

// Resolve follows ref to the image for platform p: from an index, possibly
// nested, to a manifest and its config. All of them are checked against the
// digest and size that their parent (or the reference) states, and no layer is
// read. A zero p means this machine's platform, and then also accepts what
// else this machine runs (386 on amd64, arm on arm64).
//
// Errors: [*NotFoundError], [*PlatformError], [*UnsupportedError],
// [*FormatError], [*DigestError], [*SizeError], [*LimitError], and what the
// transport adds.
func (c *Client) Resolve(ctx context.Context, ref Reference, p Platform) (*Image, error) {
	return c.resolve(ctx, ref, p, false)
}

// Documents is Resolve for what need not be an image: a chart, a signature,
// an image for another operating system. Only Reference, Index, Manifest and
// Config of what it returns are set, verified like an image's. An entry of an
// index without a platform is taken for the right one.
func (c *Client) Documents(ctx context.Context, ref Reference, p Platform) (*Image, error) {
	return c.resolve(ctx, ref, p, true)
}

func (c *Client) resolve(ctx context.Context, ref Reference, p Platform, documents bool) (*Image, error) {
	s, err := c.newSource(ctx, ref)
	if err != nil {
		return nil, err
	}
	anyArch := p.OS == "" && p.Architecture == ""
	if anyArch {
		p = defaultPlatform()
	}
	r := &resolver{
		source: s, want: fallbacks(p, anyArch), wantName: FormatPlatform(normalize(p)),
		probes: s.limits.IndexProbes, any: documents,
	}
	img, err := r.find(ctx, ref)
	if err != nil {
		return nil, err
	}
	img.Reference = ref
	img.Index = r.outer
	if err := r.checkPlatform(img, !anyArch); err != nil {
		return nil, err
	}
	c.observe(Event{Kind: EventResolved, Object: s.name, Digest: img.Manifest.Descriptor.Digest})
	return img, nil
}

// A lister is a provider that knows the descriptors a reference stands for
// before it reads them.
type lister interface {
	// list returns at least one descriptor for tag, which may be "".
	list(ctx context.Context, tag string) ([]ocispec.Descriptor, error)
}

func (r *resolver) find(ctx context.Context, ref Reference) (*Image, error) {
	if ref.Digest != "" {
		if err := validDigest(r.name, ref.Digest); err != nil {
			return nil, err
		}
		return r.follow(ctx, r.name, ocispec.Descriptor{Digest: ref.Digest, Size: -1}, 0)
	}
	if l, ok := r.provider.(lister); ok {
		descs, err := l.list(ctx, ref.Tag)
		if err != nil {
			return nil, err
		}
		if len(descs) == 1 {
			return r.follow(ctx, r.name, descs[0], 0)
		}
		return r.choose(ctx, r.name, descs, 0)
	}
	n, err := r.byTag(ctx, ref.Tag)
	if err != nil {
		return nil, err
	}
	return r.descend(ctx, n, 0)
}

// byTag asks what a tag means. There is no digest to check the answer with; one
// that cannot be read has the next source asked.
func (r *resolver) byTag(ctx context.Context, tag string) (*node, error) {
	for tries := 1; ; tries++ {
		d, err := r.provider.manifest(ctx, tag)
		if err != nil {
			return nil, err
		}
		n, err := newNode(r.name, d.raw, d.mediaType, digest.FromBytes(d.raw))
		var malformed *FormatError
		if !errors.As(err, &malformed) || d.reject == nil || tries == maxSources || !d.reject() {
			return n, err
		}
		r.askAgain(r.name, err)
	}
}

// follow reads what desc describes, with depth indexes above it. A negative
// size and an empty media type are not known.
func (r *resolver) follow(ctx context.Context, object string, desc ocispec.Descriptor, depth int) (*Image, error) {
	if desc.Size >= 0 || depth > 0 {
		if err := checkDescriptor(object, desc); err != nil {
			return nil, err
		}
	}
	raw, mediaType, err := r.manifest(ctx, object, desc)
	if err != nil {
		return nil, err
	}
	declared := bareMedia(desc.MediaType)
	if t := bareMedia(mediaType); declared == "" {
		declared = t
	} else if kindOfMedia(t) != kindUnknown && t != declared {
		return nil, &FormatError{
			Object: object,
			Reason: fmt.Sprintf("it was announced as %s and is delivered as %s", declared, t),
		}
	}
	n, err := newNode(object, raw, declared, desc.Digest)
	if err != nil {
		return nil, err
	}
	switch {
	case depth > 0:
		n.statedBy = ByIndex
	case desc.Size < 0:
		n.statedBy = ByReference
	default:
		n.statedBy = BySource
	}
	return r.descend(ctx, n, depth)
}

func newNode(object string, raw []byte, declared string, d digest.Digest) (*node, error) {
	doc, err := parseManifest(object, raw, declared)
	if err != nil {
		return nil, err
	}
	desc := ocispec.Descriptor{MediaType: doc.MediaType, Digest: d, Size: int64(len(raw))}
	return &node{Document: Document{Descriptor: desc, Raw: raw}, manifestDoc: *doc, object: object}, nil
}

// descend goes from n to an image.
func (r *resolver) descend(ctx context.Context, n *node, depth int) (*Image, error) {
	r.client.observe(Event{
		Kind: EventVerified, Object: n.object, Digest: n.Descriptor.Digest, MediaType: n.Descriptor.MediaType,
		StatedBy: n.statedBy, Total: n.Descriptor.Size,
	})
	if n.Kind == kindManifest {
		return r.image(ctx, n)
	}
	if depth >= r.limits.IndexDepth {
		return nil, &LimitError{Object: n.object, Limit: "IndexDepth", Max: int64(r.limits.IndexDepth), Got: int64(depth + 1)}
	}
	if depth == 0 {
		r.outer = &n.Document
	}
	return r.choose(ctx, n.object, n.Index.Manifests, depth+1)
}

// choose picks the entry of an index that serves the wanted platform best.
// Entries that name a platform come first; others are opened to see.
func (r *resolver) choose(ctx context.Context, object string, entries []ocispec.Descriptor, depth int) (*Image, error) {
	best, bestRank := -1, -1
	var unnamed []int
	for i, e := range entries {
		switch {
		case !imageEntry(e):
		case e.Platform == nil || e.Platform.OS == "" && e.Platform.Architecture == "":
			unnamed = append(unnamed, i)
		default:
			r.saw(*e.Platform)
			if n := rank(r.want, *e.Platform); n >= 0 && (bestRank < 0 || n < bestRank) {
				best, bestRank = i, n
			}
		}
	}
	if best >= 0 {
		r.chosen = true
		r.tell(object, entries, best)
		return r.follow(ctx, r.entryName(entries[best]), entries[best], depth)
	}
	for _, i := range unnamed {
		r.tell(object, entries, i)
		img, err := r.probe(ctx, entries[i], depth)
		if img != nil || err != nil {
			return img, err
		}
	}
	if len(r.have.list) == 0 && r.odd != nil {
		return nil, r.odd
	}
	return nil, &PlatformError{Object: object, Want: r.wantName, Have: r.have.list}
}

// tell reports which entry of an index is opened.
func (r *resolver) tell(object string, entries []ocispec.Descriptor, taken int) {
	c := &Choice{Want: r.wantName, Taken: taken, Entries: make([]ChoiceEntry, len(entries))}
	for _, p := range r.want {
		c.Accept = append(c.Accept, FormatPlatform(p))
	}
	for i, e := range entries {
		c.Entries[i] = ChoiceEntry{Digest: e.Digest, Image: imageEntry(e)}
		if e.Platform != nil {
			c.Entries[i].Platform = printable(FormatPlatform(*e.Platform))
		}
	}
	r.client.observe(Event{Kind: EventChosen, Object: object, Digest: entries[taken].Digest, Choice: c})
}

// probe opens an entry that names no platform. It returns nil when that is
// an image for another platform, or none at all.
func (r *resolver) probe(ctx context.Context, e ocispec.Descriptor, depth int) (*Image, error) {
	name := r.entryName(e)
	if r.probes--; r.probes < 0 {
		limit := int64(r.limits.IndexProbes)
		return nil, &LimitError{Object: name, Limit: "IndexProbes", Max: limit, Got: limit + 1}
	}
	img, err := r.follow(ctx, name, e, depth)
	var wrong *PlatformError
	var other *UnsupportedError
	switch {
	case errors.As(err, &wrong):
		return nil, nil
	case errors.As(err, &other):
		r.odd = err
		return nil, nil
	case err != nil:
		return nil, err
	}
	if have := img.Spec.Platform; have.Architecture != "" && rank(r.want, withLinux(have)) < 0 {
		r.saw(withLinux(have))
		return nil, nil
	}
	return img, nil
}

func (r *resolver) entryName(e ocispec.Descriptor) string {
	kind := "manifest"
	if kindOfMedia(e.MediaType) == kindIndex {
		kind = "index"
	}
	return fmt.Sprintf("%s %s of %s", kind, e.Digest, r.name)
}

// saw notes a platform for the message that lists them.
func (r *resolver) saw(p Platform) { r.have.add(FormatPlatform(p)) }

// imageEntry says whether an index entry may be an image: not BuildKit's
// attestations, which have the platform unknown/unknown and an annotation, and
// not a media type of something else.
func imageEntry(e ocispec.Descriptor) bool {
	if _, ok := e.Annotations[annotationReferenceType]; ok {
		return false
	}
	if p := e.Platform; p != nil && p.OS == platformUnknown && p.Architecture == platformUnknown {
		return false
	}
	return e.MediaType == "" || kindOfMedia(bareMedia(e.MediaType)) != kindUnknown
}

// image reads the config of manifest n and makes the image of both.
func (r *resolver) image(ctx context.Context, n *node) (*Image, error) {
	m := &n.Manifest
	object := fmt.Sprintf("config %s of %s", m.Config.Digest, r.name)
	if r.any {
		return r.documents(ctx, object, n)
	}
	if err := checkManifest(n.object, m, r.limits); err != nil {
		return nil, err
	}
	raw, err := r.document(ctx, object, m.Config)
	if err != nil {
		return nil, err
	}
	spec, warnings, err := parseConfig(object, raw, m)
	if err != nil {
		return nil, err
	}
	for _, w := range warnings {
		r.warn(object, w)
	}
	r.client.observe(Event{
		Kind: EventVerified, Object: object, Digest: m.Config.Digest, MediaType: m.Config.MediaType,
		StatedBy: ByManifest, Total: m.Config.Size,
	})
	img := &Image{Manifest: n.Document, Config: Document{Descriptor: m.Config, Raw: raw}, Spec: spec}
	img.Config.Descriptor.Data = nil
	p := withLinux(spec.Platform)
	img.Manifest.Descriptor.Platform = &p
	for i, d := range m.Layers {
		img.Layers = append(img.Layers, &Layer{
			Descriptor: d, DiffIDValue: spec.RootFS.DiffIDs[i], Index: i,
			source: r.source, object: fmt.Sprintf("layer %d of %s (%s)", i+1, r.name, d.Digest),
		})
	}
	return img, nil
}

// documents reads the config of manifest n, whatever that is.
func (r *resolver) documents(ctx context.Context, object string, n *node) (*Image, error) {
	if err := checkDescriptor(object, n.Manifest.Config); err != nil {
		return nil, err
	}
	raw, err := r.document(ctx, object, n.Manifest.Config)
	if err != nil {
		return nil, err
	}
	img := &Image{Manifest: n.Document, Config: Document{Descriptor: n.Manifest.Config, Raw: raw}}
	img.Config.Descriptor.Data = nil
	return img, nil
}

// checkPlatform looks at what the config says. An image that was no choice among
// several and is for another machine is an error where the caller named the
// platform, and else worth a warning, since it can still be unpacked. Where
// index and config differ the index counts: configs often lack the variant.
func (r *resolver) checkPlatform(img *Image, named bool) error {
	have := img.Spec.Platform
	if have.Architecture == "" || rank(r.want, withLinux(have)) >= 0 { // as Serves
		return nil
	}
	if named && !r.chosen {
		return &PlatformError{Object: r.name, Want: r.wantName, Have: []string{FormatPlatform(withLinux(have))}}
	}
	r.warn(r.name, fmt.Sprintf("the image is for %s, not for %s", FormatPlatform(withLinux(have)), r.wantName))
	return nil
}

// withLinux fills in the operating system that old configs leave out.
func withLinux(p Platform) Platform {
	if strings.TrimSpace(p.OS) == "" {
		p.OS = "linux"
	}
	return p
}
