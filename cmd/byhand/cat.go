package main

import (
	"context"
	"io"

	"github.com/urfave/cli/v2"
)

func catCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "cat",
		Usage:     "print a file of an image without unpacking it",
		UsageText: "byhand cat [--layer N] IMAGE PATH…",
		Description: "Prints the exact bytes of files of the merged tree. Symbolic links are followed\n" +
			"inside the image. All layers were verified before the first byte is printed, and\n" +
			"the file's layer is verified once more while it is.\n\n" +
			"   byhand cat alpine /etc/os-release",
		Flags:  []cli.Flag{layerFlag(), keepBlobsFlag()},
		Action: action(std, operands{min: 2, max: -1}, withTree(doCat)),
	}
}

func doCat(ctx context.Context, t *imageTree) error {
	s := t.session
	if err := t.wantLayers(); err != nil {
		return err
	}
	if err := t.load(ctx, s.args[0]); err != nil {
		return err
	}
	return s.output(func(w io.Writer) error {
		for _, name := range s.args[1:] {
			e, err := t.Lookup(name, true)
			if err == nil {
				err = t.explainContent(ctx, name, &e)
			}
			if err == nil {
				err = t.WriteContent(ctx, e, w)
			}
			if err != nil {
				return t.fileError("read", name, err)
			}
		}
		return nil
	})
}
