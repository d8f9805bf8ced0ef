package main

import (
	"context"

	"github.com/urfave/cli/v2"
)

func tagsCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:        "tags",
		Usage:       "list a repository's tags",
		UsageText:   "byhand tags REPOSITORY",
		Description: "Prints all tags, one a line.\n\n   byhand tags quay.io/org/app",
		Action:      action(std, operands{min: 1, max: 1}, withSession(doTags)),
	}
}

func doTags(ctx context.Context, s *session) error {
	ref, err := s.parse(s.args[0])
	if err != nil {
		return err
	}
	tags, err := s.client.Tags(ctx, ref)
	if err != nil {
		return err
	}
	if s.flags.Bool("json") {
		return s.printJSON(tags)
	}
	for _, t := range tags {
		if err := s.println(t); err != nil {
			return err
		}
	}
	return nil
}
