package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/bundle"
	"github.com/byhand/byhand/overlay"
)

// sortRemovals tells the operands of rm apart. What could be both is the
// image: ./NAME is the directory. A path is never an image.
func (s *session) sortRemovals(ctx context.Context) (images, dirs []string, err error) {
	for _, arg := range s.args {
		if isPath(arg) {
			dirs = append(dirs, arg)
			continue
		}
		name, err := s.storedName(ctx, arg)
		if err == nil {
			_, err = s.store.Find(ctx, name, ocispec.Platform{})
		}
		switch {
		case err == nil:
			images = append(images, name)
		case s.listsName(ctx, arg):
			images = append(images, arg)
		case bundle.Made(arg):
			dirs = append(dirs, arg)
		default:
			return nil, nil, s.listed(err)
		}
	}
	return images, dirs, nil
}

// isPath tells what can be no image's name.
func isPath(arg string) bool {
	return strings.HasPrefix(arg, "/") || strings.HasPrefix(arg, "./") || strings.HasPrefix(arg, "../") || arg == "." || arg == ".."
}

func (s *session) removeBundles(dirs []string) error {
	for _, dir := range dirs {
		name, err := filepath.Abs(dir) // which it no longer has where it was "."
		if err == nil {
			err = notMounted(dir)
		}
		if err == nil {
			err = bundle.Remove(dir)
		}
		if err == nil {
			err = s.store.Release(name)
		}
		if err != nil {
			return fmt.Errorf("rm: %w", err)
		}
		s.explain.Removed(dir)
	}
	return nil
}

// notMounted refuses a bundle whose upper dir somebody has mounted still, as a
// container that outlived the bundle's own mount does. [bundle.Remove] sees only
// what is mounted in it here.
func notMounted(dir string) error {
	user, err := overlay.UpperUser(filepath.Join(dir, "upper"))
	if err != nil || user == "" {
		return err
	}
	return &overlay.InUseError{What: "bundle " + dir, Users: []string{user}}
}
