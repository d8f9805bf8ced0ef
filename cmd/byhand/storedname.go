package main

import (
	"context"
	"regexp"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// imageID is what may be an image's ID or digest, or the beginning of one.
var imageID = regexp.MustCompile(`^(sha(256|384|512):)?[0-9a-f]{4,128}$`)

// storedName turns what a person calls an image of the store into the name the
// store has: a name, with tag or digest, else the beginning of an ID.
func (s *session) storedName(ctx context.Context, arg string) (string, error) {
	ref, err := s.parse(arg)
	if !imageID.MatchString(arg) {
		return ref.String(), err
	}
	if err == nil {
		if _, ferr := s.store.Find(ctx, ref.String(), ocispec.Platform{}); ferr == nil {
			return ref.String(), nil
		}
	}
	img, err := s.store.FindID(ctx, arg)
	if err != nil {
		return "", err
	}
	return img.ByDigest(), nil
}
