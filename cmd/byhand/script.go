package main

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/byhand/byhand/bundle"
	"github.com/byhand/byhand/internal/handscript"
	"github.com/byhand/byhand/pull"
)

func scriptCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "script",
		Usage:     "print a shell script that does pull-and-unpack by hand",
		UsageText: "byhand script [OPTIONS] IMAGE DIR [-- ARGS…]",
		Description: "Prints a POSIX shell script that makes of this very image the bundle DIR as\n" +
			"pull-and-unpack makes it, with curl, jq, sha256sum, tar and mount alone. The digests\n" +
			"are written in, and a comment at each step says what it does and why. Layers are\n" +
			"fetched into the store to be read, and removed again unless a listed image has them\n" +
			"or --keep-blobs is given.\n\n" +
			"   byhand script alpine ./alpine > alpine.sh && sh alpine.sh",
		Flags:  slices.Concat([]cli.Flag{keepBlobsFlag()}, rootfsFlags(), containerFlags()),
		Action: action(std, operands{min: 2, max: 2, rest: true}, inNamespace(withStore(doScript))),
	}
}

func doScript(ctx context.Context, s *session) (err error) {
	plan, err := s.planBundle(s.args[1])
	if err != nil {
		return err
	}
	if err := s.outside("make bundle", plan.dir); err != nil {
		return err
	}
	ref, err := s.parse(s.args[0])
	if err != nil {
		return err
	}
	if ref.Path == "-" {
		return usagef("script: the script has to read the image itself, not standard input; name a file")
	}
	t := &imageTree{session: s, blobs: true, check: func(img *pull.Image) error { return checkImage(img, plan.options) }}
	defer func() { err = errors.Join(err, t.free(ctx)) }()
	if err := t.load(ctx, s.args[0]); err != nil {
		return err
	}
	record, err := plan.describe(t.img)
	if err != nil {
		return err
	}
	endpoints, err := s.client.Endpoints(t.img.Reference)
	if err != nil {
		return err
	}
	script := handscript.Script{
		Dir: plan.dir, Image: t.img, Tree: t.Tree, Record: record, Options: plan.options,
		Mount: plan.rootfs == bundle.RootFSOverlay && !s.flags.Bool("no-mount"), Endpoints: endpoints,
	}
	var text strings.Builder
	warnings, err := script.Write(ctx, &text)
	if err != nil {
		return err
	}
	for _, w := range warnings {
		s.warn(w)
	}
	return s.write([]byte(text.String()))
}
