package main

import (
	"context"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"
)

func tagsCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:        "tags",
		Usage:       "list a repository's tags",
		UsageText:   "byhand tags REPOSITORY",
		Description: "Prints all tags, one a line.\n\n   byhand tags quay.io/org/app",
		Flags:       []cli.Flag{formatFlag()},
		Action:      action(std, operands{min: 1, max: 1}, withSession(doTags)),
	}
}

func doTags(ctx context.Context, s *session) error {
	l := listing{columns: []column{{title: "TAG"}}, fields: record{"Name": "NAME", "Tag": "TAG"}}
	f, err := s.listFormat(l)
	if err != nil {
		return err
	}
	ref, err := s.parse(s.args[0])
	if err != nil {
		return err
	}
	tags, err := s.client.Tags(ctx, ref)
	if err != nil {
		return err
	}
	if f != nil || s.flags.Bool("json") {
		rows := make([]row, len(tags))
		for i, tag := range tags {
			rows[i].fields = record{"Name": ref.Name(), "Tag": tag}
		}
		return s.list(l, f, rows, append([]string{}, tags...))
	}
	return s.output(func(w io.Writer) error {
		for _, tag := range tags {
			if _, err := fmt.Fprintln(w, oneLine(tag)); err != nil {
				return err
			}
		}
		return nil
	})
}
