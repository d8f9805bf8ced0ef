package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// A fileSet is the files of an OCI image layout: a directory, or the entries
// of an archive.
type fileSet interface {
	// open returns the content of a file and its size. A file that is not
	// there is fs.ErrNotExist.
	open(name string) (io.ReadCloser, int64, error)
	close() error
}

// layout is the provider for OCI image layouts (image-spec, "image layout").
type layout struct {
	files  fileSet
	name   string // for messages
	limits Limits
	index  ocispec.Index
	want   string // the full name to look for instead of a tag
}

var (
	_ provider = (*layout)(nil)
	_ lister   = (*layout)(nil)
)

// openLayout opens the layout directory of an oci: reference.
func openLayout(c *Client, ref Reference) (provider, error) {
	dir, err := openDirSet(ref.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &NotFoundError{Object: "image layout " + ref.Path}
	}
	if err != nil {
		return nil, fmt.Errorf("open image layout %s: %w", ref.Path, err)
	}
	l, err := newLayout(dir, "image layout "+ref.Path, c.Limits.withDefaults())
	if err != nil {
		_ = dir.close()
		return nil, err
	}
	return l, nil
}

// newLayout reads the index of the layout in files, and owns files from then on.
func newLayout(files fileSet, name string, limits Limits) (*layout, error) {
	l := &layout{files: files, name: name, limits: limits}
	if err := l.checkVersion(); err != nil {
		return nil, err
	}
	raw, err := l.read(ocispec.ImageIndexFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &FormatError{Object: name, Reason: "not an OCI image layout: it has no " + ocispec.ImageIndexFile}
	}
	if err != nil {
		return nil, err
	}
	doc, err := parseManifest(ocispec.ImageIndexFile+" of "+name, raw, "")
	if err != nil {
		return nil, err
	}
	if doc.Kind != kindIndex {
		return nil, &FormatError{Object: ocispec.ImageIndexFile + " of " + name, Reason: "it is not an index"}
	}
	l.index = doc.Index
	return l, nil
}

// checkVersion looks at oci-layout. Layouts without it are read too: several
// tools write none.
func (l *layout) checkVersion() error {
	raw, err := l.read(ocispec.ImageLayoutFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var v ocispec.ImageLayout
	object := ocispec.ImageLayoutFile + " of " + l.name
	if err := decodeJSON(object, raw, &v); err != nil {
		return err
	}
	if v.Version != "" && !strings.HasPrefix(v.Version, "1.") {
		return &UnsupportedError{Object: object, What: fmt.Sprintf("an image layout of version %q, and only 1 is known", v.Version)}
	}
	return nil
}

// read returns a metadata file as a whole.
func (l *layout) read(name string) ([]byte, error) {
	f, size, err := l.files.open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	object := name + " of " + l.name
	if size > l.limits.Metadata {
		return nil, &LimitError{Object: object, Limit: "Metadata", Max: l.limits.Metadata, Got: size}
	}
	raw, err := readBounded(object, "Metadata", f, l.limits.Metadata)
	if err != nil {
		return nil, err
	}
	return raw, nil
}

// list implements lister. Without a tag it stands for the only image there is,
// or, where all entries have one name or none, for all of them as an index.
func (l *layout) list(_ context.Context, tag string) ([]ocispec.Descriptor, error) {
	if l.want != "" {
		tag = l.want
	}
	var found []ocispec.Descriptor
	for _, match := range []func(refNames) bool{
		func(n refNames) bool { return tag == "" || n.ref == tag },
		func(n refNames) bool { return n.full == tag },
		func(n refNames) bool { return n.tag() == tag },
	} {
		found = slices.DeleteFunc(slices.Clone(l.index.Manifests), func(d ocispec.Descriptor) bool { return !match(namesOf(d)) })
		if len(found) > 0 {
			break
		}
	}
	object := l.name
	if tag != "" {
		object = fmt.Sprintf("image %q in %s", tag, l.name)
	}
	if slices.IndexFunc(found, func(d ocispec.Descriptor) bool { return d.Digest != found[0].Digest }) < 0 {
		found = found[:min(1, len(found))] // one image of several names
	}
	names := distinctNames(found)
	switch {
	case len(found) == 0 && len(l.index.Manifests) == 0:
		return nil, &NotFoundError{Object: "an image in " + l.name + ", which is empty"}
	case len(found) == 0:
		return nil, &NotFoundError{Object: object, Available: distinctNames(l.index.Manifests)}
	case len(names) > 1:
		return nil, &NotFoundError{Object: "which image is meant in " + l.name, Available: names}
	}
	return found, nil
}

// refNames are the names that an index entry goes by.
type refNames struct{ ref, full string }

func namesOf(d ocispec.Descriptor) refNames {
	return refNames{ref: d.Annotations[ocispec.AnnotationRefName], full: d.Annotations[annotationContainerdName]}
}

// tag is the last part of a name such as busybox:1.38.
func (n refNames) tag() string {
	for _, s := range []string{n.ref, n.full} {
		if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.Contains(s[i:], "/") {
			return s[i+1:]
		}
	}
	return ""
}

// distinctNames lists the names of entries, the nameless by their digests.
func distinctNames(entries []ocispec.Descriptor) []string {
	var names nameSet
	nameless := false
	for _, d := range entries {
		n := namesOf(d)
		name := n.ref
		if name == "" {
			name = n.full
		}
		if name == "" {
			nameless = true
		} else {
			names.add(name)
		}
	}
	if nameless && len(names.list) > 0 {
		names.add("one without a name")
	}
	return names.list
}

// manifest implements provider. ref is a digest: list comes before.
func (l *layout) manifest(ctx context.Context, ref string) (rawDocument, error) {
	d := digest.Digest(ref)
	desc := ocispec.Descriptor{Digest: d, Size: -1}
	for _, m := range l.index.Manifests {
		if m.Digest == d {
			desc.MediaType = m.MediaType
		}
	}
	object := "manifest " + ref + " of " + l.name
	f, err := l.blob(ctx, object, desc, 0)
	if err != nil {
		return rawDocument{}, err
	}
	defer func() { _ = f.Close() }()
	raw, err := readBounded(object, "Metadata", f, l.limits.Metadata)
	if err != nil {
		return rawDocument{}, err
	}
	return rawDocument{mediaType: desc.MediaType, raw: raw}, nil
}

// blob implements provider.
func (l *layout) blob(_ context.Context, object string, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	if err := validDigest(object, desc.Digest); err != nil {
		return nil, err
	}
	name := path.Join(ocispec.ImageBlobsDir, desc.Digest.Algorithm().String(), desc.Digest.Encoded())
	f, _, err := l.files.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &NotFoundError{Object: object}
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", object, err)
	}
	if offset == 0 {
		return f, nil
	}
	if _, err := io.CopyN(io.Discard, f, offset); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("read %s: %w", object, err)
	}
	return f, nil
}

// tags implements provider.
func (l *layout) tags(context.Context) ([]string, error) {
	var tags nameSet
	for _, d := range l.index.Manifests {
		if n := namesOf(d).ref; n != "" {
			tags.add(n)
		}
	}
	return tags.list, nil
}

func (l *layout) close() error { return l.files.close() }

// dirSet is a layout directory. Blobs may be symbolic links, but only to files
// inside the directory.
type dirSet struct{ root *os.Root }

func openDirSet(dir string) (*dirSet, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &dirSet{root: root}, nil
}

func (d *dirSet) open(name string) (io.ReadCloser, int64, error) {
	// O_NONBLOCK: a FIFO in the place of a file must not hang the pull.
	f, err := d.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("open %s: not a regular file", name)
	}
	if err != nil {
		_ = f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

func (d *dirSet) close() error { return d.root.Close() }
