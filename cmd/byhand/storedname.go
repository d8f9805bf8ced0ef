package main

import (
	"context"
	"errors"
	"regexp"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/pull"
)

var (
	// imageID is what may be an image's ID or digest, or the beginning of one.
	imageID = regexp.MustCompile(`^(sha(256|384|512):)?[0-9a-f]{4,128}$`)

	// longID is an imageID that nobody would choose for a name.
	longID = regexp.MustCompile(`^(sha(256|384|512):)?[0-9a-f]{12,128}$`)
)

// storedName turns what a person calls an image of the store into the name the
// store has: a name, with tag or digest, else the beginning of an ID.
func (s *session) storedName(ctx context.Context, arg string) (string, error) {
	ref, err := s.parse(arg)
	if !imageID.MatchString(arg) || err == nil && s.lists(ctx, ref) {
		return ref.String(), err
	}
	img, err := s.store.FindID(ctx, arg)
	if err != nil {
		return "", err
	}
	return img.ByDigest(), nil
}

// parseStored is parse for what takes an image of the store: as with Docker,
// that can be named by its ID as well. Any of several names of one image will
// do.
func (s *session) parseStored(ctx context.Context, arg string) (pull.Reference, error) {
	ref, err := s.parse(arg)
	if !longID.MatchString(arg) || err == nil && s.lists(ctx, ref) {
		return ref, err
	}
	img, iderr := s.store.FindID(ctx, arg)
	if several, ok := errors.AsType[*overlay.AmbiguousError](iderr); ok && several.Same() {
		img, iderr = several.Images[0], nil
	}
	switch {
	case isAny[*overlay.NotFoundError](iderr) && !strings.Contains(arg, ":"):
		return ref, err // an odd name
	case iderr != nil:
		return ref, s.listed(iderr)
	}
	named, err := s.parse(img.Name)
	if err != nil || named.Transport != pull.Registry {
		return named, err // is read where it is, as by its name
	}
	if rec, err := s.record(ctx, named); err == nil && rec.Manifest.Digest == img.Manifest.Digest {
		return named, nil
	}
	return s.parse(img.ByDigest())
}

// lists tells whether the store has an image of that name.
func (s *session) lists(ctx context.Context, ref pull.Reference) bool {
	return s.listsName(ctx, ref.String())
}

// listsName tells the same of exactly that name. Another tool may have given it:
// mine, where ours is docker.io/library/mine:latest.
func (s *session) listsName(ctx context.Context, name string) bool {
	_, err := s.store.Find(ctx, name, ocispec.Platform{})
	return err == nil
}
