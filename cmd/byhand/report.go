package main

import (
	"context"
	"sync"

	"github.com/opencontainers/go-digest"
	"github.com/urfave/cli/v2"

	imagereport "github.com/byhand/byhand/internal/report"
	"github.com/byhand/byhand/pull"
)

func reportCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "report",
		Usage:     "write a web page that shows an image",
		UsageText: "byhand report IMAGE -o FILE",
		Description: "Writes one HTML page that needs no other file and no network: the digests and that\n" +
			"they match, the layers with what each adds, changes, deletes and wastes, a map of\n" +
			"the files, the overlay mount, and config.json beside the image config it is made of.\n" +
			"Prints FILE; -o - writes the page to standard output. Every layer is read and\n" +
			"verified for it, none is unpacked.\n\n   byhand report alpine -o alpine.html",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `FILE`, - for standard output"},
			keepBlobsFlag(),
		},
		Action: action(std, operands{min: 1, max: 1}, withTree(doReport)),
	}
}

func doReport(ctx context.Context, t *imageTree) error {
	s := t.session
	out := s.flags.String("output")
	if out == "" {
		return usagef("report: name a file with -o FILE, or -o - for standard output")
	}
	if out != "-" {
		if err := s.outside("write", out); err != nil {
			return err
		}
	}
	verified := s.noteVerified()
	if err := t.load(ctx, s.args[0]); err != nil {
		return err
	}
	s.endProgress()
	page, err := imagereport.Build(ctx, imagereport.Input{Image: t.img, Tree: t.Tree, Verified: verified}, imagereport.Options{})
	if err != nil {
		return err
	}
	if isStdout(out) {
		s.explain.Reported("", "")
		return page.Write(&resultWriter{s.std.out})
	}
	d, err := outputFile(out, page.Write)
	if err != nil {
		return err
	}
	s.explain.Reported(out, d)
	return s.println(out)
}

// noteVerified remembers what is verified from now on. The store may have a
// layer unpacked, whose blob nobody reads.
func (s *session) noteVerified() func(digest.Digest) bool {
	var seen sync.Map
	observe := s.client.Observe
	s.client.Observe = func(e pull.Event) {
		if e.Kind == pull.EventVerified {
			seen.Store(e.Digest, true)
		}
		observe(e)
	}
	return func(d digest.Digest) bool {
		_, ok := seen.Load(d)
		return ok
	}
}
