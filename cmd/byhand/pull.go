package main

import (
	"context"

	"github.com/urfave/cli/v2"
)

func pullCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "pull",
		Usage:     "fetch and verify an image into the store",
		UsageText: "byhand pull IMAGE",
		Description: "Fetches the manifest, the config and the layer blobs, checks each against its\n" +
			"digest and size, and keeps them in the store, which is an OCI image layout.\n" +
			"Prints the digest of the manifest.\n\n   byhand pull alpine:3.20",
		Action: action(std, operands{min: 1, max: 1}, withStore(doPull)),
	}
}

func doPull(ctx context.Context, s *session) error {
	img, err := s.resolve(ctx, s.args[0])
	if err != nil {
		return err
	}
	s.show.plan(img, workPull)
	if err := s.fetchBlobs(ctx, img); err != nil {
		return err
	}
	if err := s.keepMetadata(ctx, img); err != nil {
		return err
	}
	if err := s.tag(ctx, img); err != nil {
		return err
	}
	return s.printResult(img, "", nil, img.Manifest.Descriptor.Digest)
}
