package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/pull"
	"github.com/byhand/byhand/unpack"
)

func unpackCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "unpack",
		Usage:     "apply an image's layers into lower dirs, or into one plain directory",
		UsageText: "byhand unpack IMAGE [DIR]",
		Description: "Applies the layers into the store's overlay2-style lower dirs and prints them,\n" +
			"base first. With DIR it writes the merged tree there and prints DIR.\n" +
			"What the store lacks is pulled.\n\n   byhand unpack alpine ./rootfs",
		Flags:  []cli.Flag{keepBlobsFlag()},
		Action: action(std, operands{min: 1, max: 2}, inNamespace(withStore(doUnpack))),
	}
}

func doUnpack(ctx context.Context, s *session) error {
	if len(s.args) == 2 {
		if err := s.outsideDir("write to", s.args[1]); err != nil {
			return err
		}
		if err := checkEmpty(s.args[1]); err != nil {
			return err
		}
	}
	img, layers, err := s.unpacked(ctx, s.args[0], s.findWhole)
	if err != nil {
		return err
	}
	if len(s.args) == 1 {
		var lines []any
		for _, l := range layers {
			lines = append(lines, l.Dir)
		}
		return s.printResult(img, "", layers, lines...)
	}
	if err := s.flatten(ctx, layers, s.args[1]); err != nil {
		return err
	}
	return s.printResult(img, s.args[1], layers, s.args[1])
}

// checkEmpty refuses a directory that holds something, before anything is
// fetched for it.
func checkEmpty(dir string) error {
	names, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("write to %s: %w", dir, err)
	case len(names) > 0:
		return &overlay.NotEmptyError{Dir: dir, Found: names[0].Name()}
	}
	return nil
}

// flatten writes the merged tree of the layers, and makes the directories that
// lead to it, as for a bundle.
func (s *session) flatten(ctx context.Context, layers []overlay.Layer, dst string) error {
	options, err := storeOptions(s)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(filepath.Clean(dst)), 0o755); err != nil {
		return storageError(dst, err)
	}
	s.explain.Flatten(dst, len(layers))
	err = overlay.Flatten(ctx, dirs(layers), dst, overlay.FlattenOptions{
		Owners: options.Owners,
		Sync:   s.flags.Bool("sync"),
		Skipped: func(skips []unpack.Skip) {
			for _, k := range skips {
				s.warn(dst + ": " + k.String())
			}
		},
	})
	if _, ok := errors.AsType[*unpack.EntryError](err); ok { // it names the file alone
		err = fmt.Errorf("write to %s: %w", dst, err)
	}
	return err
}

// unpacked finds an image, unpacks it and makes the store list it.
func (s *session) unpacked(ctx context.Context, arg string, find finder) (*pull.Image, []overlay.Layer, error) {
	img, err := find(ctx, arg)
	if err != nil {
		return nil, nil, err
	}
	s.show.plan(img, workUnpack)
	layers, err := s.addLayers(ctx, img)
	if err != nil {
		return nil, nil, err
	}
	if s.flags.Bool("keep-blobs") {
		if err := s.fetchBlobs(ctx, img); err != nil {
			return nil, nil, err
		}
	}
	if err := s.keepMetadata(ctx, img); err != nil {
		return nil, nil, err
	}
	return img, layers, s.tag(ctx, img)
}

func dirs(layers []overlay.Layer) []string {
	paths := make([]string, len(layers))
	for i, l := range layers {
		paths[i] = l.Dir
	}
	return paths
}
