package main

import (
	"context"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"
)

func exportCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "export",
		Usage:     "write an image's merged tree as a tar",
		UsageText: "byhand export IMAGE -o FILE",
		Description: "Writes one tar of the merged tree with true owners, modes, times, extended\n" +
			"attributes and capabilities, without unpacking, as any user; the same bytes for\n" +
			"one image every time. Prints the tar's digest; -o - writes the tar to standard\n" +
			"output. Layers are fetched into the store first, and removed again unless a\n" +
			"listed image has them or --keep-blobs is given.\n\n   byhand export alpine -o rootfs.tar",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `FILE`, - for standard output"},
			keepBlobsFlag(),
		},
		Action: action(std, operands{min: 1, max: 1}, withTree(doExport)),
	}
}

func doExport(ctx context.Context, t *imageTree) error {
	s := t.session
	out := s.flags.String("output")
	if out == "" {
		return usagef("export: name a file with -o FILE, or -o - for standard output")
	}
	if out != "-" {
		if err := s.outside("write", out); err != nil {
			return err
		}
	}
	if err := t.load(ctx, s.args[0]); err != nil {
		return err
	}
	s.endProgress()
	if isStdout(out) {
		s.explain.Exported("", "")
		return t.write(ctx, &resultWriter{s.std.out})
	}
	d, err := outputFile(out, func(w io.Writer) error { return t.write(ctx, w) })
	if err != nil {
		return err
	}
	s.explain.Exported(out, d)
	return s.println(d)
}

// write writes the tar, and names the image in an error.
func (t *imageTree) write(ctx context.Context, w io.Writer) error {
	if err := t.Export(ctx, w); err != nil {
		return fmt.Errorf("export %s: %w", t.img.Reference, err)
	}
	return nil
}
