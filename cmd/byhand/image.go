package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

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
