package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/pull"
)

// finder finds an image by its name as the user gave it.
type finder func(ctx context.Context, arg string) (*pull.Image, error)

// resolve asks the image's source what the reference means now.
func (s *session) resolve(ctx context.Context, arg string) (*pull.Image, error) {
	ref, err := s.parse(arg)
	if err != nil {
		return nil, err
	}
	return s.client.Resolve(ctx, ref, s.platform)
}

// local returns the image as the store has it, or fs.ErrNotExist. Its
// layers may have to come from elsewhere.
func (s *session) local(ctx context.Context, ref pull.Reference) (*pull.Image, error) {
	rec, err := s.record(ctx, ref)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			s.explain.Stored(ref.String(), "")
		}
		return nil, err
	}
	img, err := s.stored(ctx, ref, rec)
	if exitCode(err) == exitVerification {
		err = fmt.Errorf("%w; byhand verify --repair %s replaces what is damaged", err, ref)
	}
	return img, err
}

// stored returns an image that the store lists.
func (s *session) stored(ctx context.Context, ref pull.Reference, rec overlay.Image) (*pull.Image, error) {
	s.explain.Stored(ref.String(), rec.Manifest.Digest)
	s.explain.Layout(s.store.Dir())
	defer s.explain.Layout("")
	platform := s.platform
	if platform.OS == "" {
		platform = platformOf(rec) // was settled when it was pulled
	}
	img, err := s.client.Resolve(ctx, pull.Reference{
		Transport: pull.OCI, Path: s.store.Dir(), Digest: rec.Manifest.Digest,
	}, platform)
	if err != nil {
		// Another process may have removed it since.
		if _, gone := s.record(ctx, ref); errors.Is(gone, fs.ErrNotExist) {
			return nil, gone
		}
		return nil, err
	}
	img.Reference = ref
	if rec.IndexDigest != "" {
		img.Index, err = s.storedIndex(ctx, rec.IndexDigest)
	}
	return img, err
}

// sourceGone tells whether err is that the layout or archive is not there.
func sourceGone(ref pull.Reference, err error) bool {
	_, serr := os.Stat(ref.Path)
	return isAny[*pull.NotFoundError](err) && errors.Is(serr, fs.ErrNotExist)
}

// insteadOf returns what the store has under the name of a source that is gone,
// or gone, the error that says so.
func (s *session) insteadOf(ctx context.Context, ref pull.Reference, gone error, good func(*pull.Image) bool) (*pull.Image, error) {
	img, err := s.local(ctx, ref)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !good(img) {
		return nil, gone
	}
	return img, err
}

// record finds the image in the store's index, or fs.ErrNotExist.
func (s *session) record(ctx context.Context, ref pull.Reference) (overlay.Image, error) {
	want := s.platform
	if want.OS == "" {
		want = thisMachine()
	}
	rec, err := s.store.Find(ctx, ref.String(), want)
	if !errors.Is(err, fs.ErrNotExist) {
		return rec, err
	}
	// One pulled for another machine is not what this name means here, unless
	// it means a manifest: then there is nothing to choose.
	other, oerr := s.store.Find(ctx, ref.String(), ocispec.Platform{})
	alone := oerr == nil && (other.IndexDigest == "" || other.Manifest.Digest == ref.Digest)
	if alone && (s.platform.OS == "" || pull.Serves(s.platform, platformOf(other))) {
		return other, nil
	}
	return rec, err
}

func platformOf(rec overlay.Image) pull.Platform {
	if rec.Manifest.Platform == nil {
		return pull.Platform{}
	}
	return *rec.Manifest.Platform
}

func thisMachine() pull.Platform {
	return pull.Platform{OS: runtime.GOOS, Architecture: runtime.GOARCH}
}

// warnForeign says that an image of the store is for another machine, as
// resolving it says where it comes from.
func (s *session) warnForeign(img *pull.Image) {
	have := img.Spec.Platform
	if s.platform.OS == "" && !pull.Serves(s.platform, have) {
		s.warn(fmt.Sprintf("%s: the image is for %s, not for %s", img.Reference, pull.FormatPlatform(have), pull.FormatPlatform(thisMachine())))
	}
}

// storedIndex reads the index that an image in the store was found through.
func (s *session) storedIndex(ctx context.Context, d digest.Digest) (*pull.Document, error) {
	raw, err := s.store.ReadBlob(ctx, d)
	if err != nil {
		return nil, err
	}
	var head struct {
		MediaType string `json:"mediaType"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return nil, fmt.Errorf("read index %s: %w", d, err)
	}
	return &pull.Document{
		Descriptor: ocispec.Descriptor{MediaType: head.MediaType, Digest: d, Size: int64(len(raw))}, Raw: raw,
	}, nil
}

// find returns the image from the store, or else from its source.
func (s *session) find(ctx context.Context, arg string) (*pull.Image, error) {
	return s.findIf(ctx, arg, func(*pull.Image) bool { return true })
}

// findWhole is find for a caller who needs all layers: an image that the
// store lists but whose layers it lacks comes from its source again.
func (s *session) findWhole(ctx context.Context, arg string) (*pull.Image, error) {
	return s.findIf(ctx, arg, func(img *pull.Image) bool {
		s.hold(ctx, img)
		// Layers of another boot may only have to be looked at.
		if err := s.store.Prove(ctx, diffIDs(img)); err != nil {
			s.log(levelInfo, fmt.Sprintf("prove layers of %s: %v", img.Reference, err))
		}
		return s.hasAll(img)
	})
}

// hold keeps other processes from removing the image's layers between a look at
// them and their use.
func (s *session) hold(ctx context.Context, img *pull.Image) {
	var blobs []digest.Digest
	for _, l := range img.Layers {
		blobs = append(blobs, l.Descriptor.Digest)
	}
	if err := s.store.Hold(ctx, overlay.ChainIDs(diffIDs(img)), blobs); err != nil {
		s.log(levelInfo, fmt.Sprintf("hold layers of %s: %v", img.Reference, err))
	}
}

// findIf returns the image from the store if it is good, or else from its
// source: there by the digest the store knows, since an image must not
// change because a part of it was lost.
func (s *session) findIf(ctx context.Context, arg string, good func(*pull.Image) bool) (*pull.Image, error) {
	ref, err := s.parseStored(ctx, arg)
	if err != nil {
		return nil, err
	}
	if ref.Transport != pull.Registry {
		img, err := s.client.Resolve(ctx, ref, s.platform)
		if err != nil && sourceGone(ref, err) {
			return s.insteadOf(ctx, ref, err, good)
		}
		return img, err
	}
	rec, err := s.record(ctx, ref)
	if errors.Is(err, fs.ErrNotExist) {
		s.explain.Stored(ref.String(), "")
		return s.client.Resolve(ctx, ref, s.platform)
	}
	if err != nil {
		return nil, err
	}
	local, err := s.stored(ctx, ref, rec)
	switch {
	case err == nil && good(local):
		s.warnForeign(local)
		return local, nil
	case err == nil:
		s.explain.Did("store", "the store lacks layers of "+ref.String()+": asking for the same manifest again")
		return s.again(ctx, ref, rec)
	case ctx.Err() != nil, isStorage(err):
		return nil, err
	case isAny[*overlay.NotFoundError](err): // removed by another process
		return s.client.Resolve(ctx, ref, s.platform)
	}
	s.warn(fmt.Sprintf("%s: the store's copy cannot be used: %v; fetching it again", ref, err))
	img, err := s.again(ctx, ref, rec)
	if err != nil {
		return nil, fmt.Errorf("fetch %s again, as the store's copy cannot be used: %w", ref, err)
	}
	return img, nil
}

// again asks the source for an image that the store lists, and has in part, or
// damaged.
func (s *session) again(ctx context.Context, ref pull.Reference, rec overlay.Image) (*pull.Image, error) {
	pinned, platform := ref, s.platform
	pinned.Digest = rec.Manifest.Digest
	var index *pull.Document
	if rec.IndexDigest != "" {
		var err error
		if index, err = s.storedIndex(ctx, rec.IndexDigest); err != nil {
			pinned.Digest, platform = rec.IndexDigest, platformOf(rec)
		}
	}
	img, err := s.client.Resolve(ctx, pinned, platform)
	if err != nil {
		return nil, err
	}
	if index != nil {
		img.Index = index
	}
	img.Reference = ref
	return img, nil
}

// hasAll says whether every layer is unpacked in the store, or its blob is;
// with --keep-blobs, whether every blob is.
func (s *session) hasAll(img *pull.Image) bool {
	chain := overlay.ChainIDs(diffIDs(img))
	for i, l := range img.Layers {
		unpacked := s.store.Has(chain[i]) && !s.flags.Bool("keep-blobs")
		if !unpacked && !s.store.HasBlob(l.Descriptor) {
			return false
		}
	}
	return true
}

func diffIDs(img *pull.Image) []digest.Digest {
	ids := make([]digest.Digest, len(img.Layers))
	for i, l := range img.Layers {
		ids[i] = l.DiffID()
	}
	return ids
}

// keepMetadata writes manifest, config and index into the store.
func (s *session) keepMetadata(ctx context.Context, img *pull.Image) error {
	docs := []pull.Document{img.Config, img.Manifest}
	if img.Index != nil {
		docs = append(docs, *img.Index)
	}
	for _, d := range docs {
		if err := s.dropDamaged(ctx, d.Descriptor.Digest); err != nil {
			return err
		}
		if err := s.store.PutBlob(ctx, d.Descriptor, bytes.NewReader(d.Raw)); err != nil {
			return err
		}
	}
	return nil
}

// dropDamaged makes room for a document that is there, but is not what its name
// says.
func (s *session) dropDamaged(ctx context.Context, d digest.Digest) error {
	_, err := s.store.ReadBlob(ctx, d)
	if isAny[*overlay.DigestError](err) || isAny[*overlay.CorruptError](err) {
		return s.store.DropBlob(d)
	}
	return nil
}

// tag makes the store list the image; it comes last, when all is there.
func (s *session) tag(ctx context.Context, img *pull.Image) error {
	rec := overlay.Image{Name: img.Reference.String(), Manifest: img.Manifest.Descriptor}
	rec.Manifest.Platform = &ocispec.Platform{
		Architecture: img.Spec.Architecture, OS: img.Spec.OS, Variant: img.Spec.Variant,
		OSVersion: img.Spec.OSVersion, OSFeatures: img.Spec.OSFeatures,
	}
	if img.Index != nil {
		rec.IndexDigest = img.Index.Descriptor.Digest
	}
	return s.store.Tag(ctx, rec)
}

// fetchBlobs brings the compressed layers that the store lacks into it.
func (s *session) fetchBlobs(ctx context.Context, img *pull.Image) error {
	has := func(i int) bool { return repeats(img.Layers, i) || s.store.HasBlob(img.Layers[i].Descriptor) }
	if err := s.checkSpace(img, has); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(s.flags.Int("jobs"))
	for i, l := range img.Layers {
		if repeats(img.Layers, i) {
			continue
		}
		d := l.Descriptor.Digest
		if s.store.HasBlob(l.Descriptor) {
			s.explain.Blob(d, true)
			s.show.done(d, statePresent)
			continue
		}
		g.Go(func() error {
			if err := s.fetchBlob(ctx, l); err != nil {
				return err
			}
			s.explain.Blob(d, false)
			s.show.done(d, "pulled")
			return nil
		})
	}
	return g.Wait()
}

// repeats says whether a layer below number i, from 0, is the same blob.
func repeats(layers []*pull.Layer, i int) bool {
	return slices.ContainsFunc(layers[:i], func(l *pull.Layer) bool { return l.Descriptor.Digest == layers[i].Descriptor.Digest })
}

// checkSpace refuses to begin what cannot end well: the layers that the store
// lacks need at least their compressed size.
func (s *session) checkSpace(img *pull.Image, has func(int) bool) error {
	var need int64
	for i, l := range img.Layers {
		if !has(i) {
			need += l.Descriptor.Size
		}
	}
	return s.store.CheckSpace(need)
}

// fetchBlob brings one blob, going on where an earlier try stopped. One that
// turns out to be wrong is fetched once more, from the next source if there is
// one: pull leaves out the mirror that had it.
func (s *session) fetchBlob(ctx context.Context, l *pull.Layer) error {
	err := s.tryBlob(ctx, l, true)
	// An ended ctx has the error of another layer for its cause.
	if ctx.Err() == nil && (isAny[*pull.DigestError](err) || isAny[*pull.SizeError](err)) {
		s.log(levelInfo, fmt.Sprintf("%v; fetching it once more", err))
		err = s.tryBlob(ctx, l, false)
	}
	return err
}

func (s *session) tryBlob(ctx context.Context, l *pull.Layer, resume bool) (err error) {
	w, err := s.store.NewBlob(ctx, l.Descriptor)
	if errors.Is(err, fs.ErrExist) {
		return nil // another process brought it
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	o := pull.OpenOptions{Keep: w}
	if resume {
		if o.Have, err = earlier(w); err != nil {
			return err
		}
	}
	if err := l.Fetch(ctx, o); err != nil {
		suspend(w, err)
		return err
	}
	return w.Commit()
}

// earlier returns the bytes that an earlier try left, or nil.
func earlier(w *overlay.BlobWriter) (io.Reader, error) {
	n, err := w.Resume()
	if err != nil || n == 0 {
		return nil, err
	}
	return w.Prefix(), nil
}

// suspend keeps what came before a fetch was interrupted, for the next try.
// What was wrong is not kept.
func suspend(w *overlay.BlobWriter, err error) {
	if !isAny[*pull.DigestError](err) && !isAny[*pull.SizeError](err) && !isAny[*pull.FormatError](err) {
		w.Suspend()
	}
}

// addLayers unpacks the layers that the store lacks, all at once.
func (s *session) addLayers(ctx context.Context, img *pull.Image) ([]overlay.Layer, error) {
	s.img = img
	chain := overlay.ChainIDs(diffIDs(img))
	if err := s.checkSpace(img, func(i int) bool { return s.store.Has(chain[i]) }); err != nil {
		return nil, err
	}
	layers, err := s.store.AddAll(ctx, s.sources(img), overlay.AddOptions{Jobs: s.flags.Int("jobs"), Damaged: s.damaged})
	if err != nil && isStorage(err) {
		// Which file of a layer it was says nothing of the disk.
		return nil, fmt.Errorf("unpack %s into %s: %w", img.Reference, s.store.Dir(), err)
	}
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", img.Reference, err)
	}
	return layers, nil
}

// sources are the image's layers for the store.
func (s *session) sources(img *pull.Image) []overlay.Source {
	sources := make([]overlay.Source, len(img.Layers))
	for i, l := range img.Layers {
		sources[i] = &layerSource{Layer: l, session: s}
	}
	return sources
}

// damaged tells whether a stream failed because the blob that arrived is not
// the one its descriptor names: it is worth fetching once more. A right blob
// whose content is wrong stays so.
func (s *session) damaged(err error) bool {
	if d, ok := errors.AsType[*pull.DigestError](err); ok {
		return slices.ContainsFunc(s.img.Layers, func(l *pull.Layer) bool { return l.Descriptor.Digest == d.Want })
	}
	return isAny[*pull.SizeError](err)
}

// layerSource opens a layer of a pull for the store. With --keep-blobs the
// compressed bytes go into the store on their way.
type layerSource struct {
	*pull.Layer
	session *session
}

var _ overlay.Source = (*layerSource)(nil)

// Size lets the store begin with the largest layers.
func (l *layerSource) Size() int64 { return l.Descriptor.Size }

func (l *layerSource) Open(ctx context.Context) (io.ReadCloser, error) {
	if !l.session.flags.Bool("keep-blobs") || l.session.store.HasBlob(l.Descriptor) {
		return l.Layer.Open(ctx, pull.OpenOptions{})
	}
	w, err := l.session.store.NewBlob(ctx, l.Descriptor)
	if errors.Is(err, fs.ErrExist) {
		return l.Layer.Open(ctx, pull.OpenOptions{})
	}
	if err != nil {
		return nil, err
	}
	have, err := earlier(w)
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	r, err := l.Layer.Open(ctx, pull.OpenOptions{Have: have, Keep: w})
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	kept := &keptLayer{ReadCloser: r, blob: w}
	if stream, ok := r.(chunker); ok {
		return chunked{keptLayer: kept, stream: stream}, nil
	}
	return kept, nil
}

// keptLayer commits the blob once the stream has ended well.
type keptLayer struct {
	io.ReadCloser
	blob *overlay.BlobWriter
	err  error // that ended the stream
}

func (k *keptLayer) Read(p []byte) (int, error) {
	n, err := k.ReadCloser.Read(p)
	return n, k.judge(err)
}

// chunked is a keptLayer whose stream hands out its own buffers.
type chunked struct {
	*keptLayer
	stream chunker
}

type chunker interface{ NextChunk() ([]byte, error) }

func (c chunked) NextChunk() ([]byte, error) {
	p, err := c.stream.NextChunk()
	return p, c.judge(err)
}

// judge commits the blob if err is the end of a stream that was whole.
func (k *keptLayer) judge(err error) error {
	if err == nil || k.err != nil {
		return err
	}
	if k.err = err; errors.Is(err, io.EOF) {
		if cerr := k.blob.Commit(); cerr != nil {
			return cerr
		}
	}
	return err
}

// Close keeps the bytes of a stream that was given up or broke off.
func (k *keptLayer) Close() error {
	err := k.ReadCloser.Close()
	if k.err == nil || !errors.Is(k.err, io.EOF) {
		suspend(k.blob, k.err)
	}
	return errors.Join(err, k.blob.Close())
}
