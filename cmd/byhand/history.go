package main

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/docker/go-units"
	"github.com/opencontainers/go-digest"
	"github.com/urfave/cli/v2"

	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/pull"
)

func historyCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "history",
		Usage:     "show the steps that an image was built in, and their layers",
		UsageText: "byhand history IMAGE",
		Description: "Prints a row for each step, the latest first, with the digest, diff ID and chain\n" +
			"ID of its layer. SIZE is that of the compressed layer: no layer is fetched.\n\n" +
			"   byhand history alpine\n" +
			"   byhand history --format '{{.Size}}\\t{{.CreatedBy}}' alpine",
		Flags: []cli.Flag{
			formatFlag(), noTruncFlag(),
			&cli.BoolFlag{Name: "human", Aliases: []string{"H"}, Value: true, Usage: "print sizes and times for people"},
			idsFlag(),
		},
		Action: action(std, operands{min: 1, max: 1}, withStore(doHistory)),
	}
}

// historyRow is a step of an image's history, and its layer if it has one.
type historyRow struct {
	ID         string        `json:"id,omitempty"` // of the image that the step led to, where it is known
	Created    *time.Time    `json:"created,omitempty"`
	CreatedBy  string        `json:"createdBy"`
	Author     string        `json:"author,omitempty"`
	Comment    string        `json:"comment"`
	EmptyLayer bool          `json:"emptyLayer"`
	Layer      int           `json:"layer,omitempty"` // 1 is the base
	Digest     digest.Digest `json:"digest,omitempty"`
	DiffID     digest.Digest `json:"diffID,omitempty"`
	ChainID    digest.Digest `json:"chainID,omitempty"`
	Size       int64         `json:"size"` // of the compressed layer
}

func doHistory(ctx context.Context, s *session) error {
	l := historyListing()
	f, err := s.idFormat(l)
	if err != nil {
		return err
	}
	img, err := s.find(ctx, s.args[0])
	if err != nil {
		return err
	}
	s.explain.History(img)
	rows := history(img)
	shown := make([]row, len(rows))
	for i := range rows {
		shown[i] = rows[i].show(s.call, time.Now())
	}
	return s.list(l, f, shown, rows)
}

// history pairs an image's history with its layers, from the base up, and
// returns the latest step first. Nothing makes the two agree, and a pull warns
// where they do not: a step may be left without a layer, or a layer without a
// step.
func history(img *pull.Image) []historyRow {
	rows := []historyRow{} // a list, also when it is empty
	chain := overlay.ChainIDs(diffIDs(img))
	next := 0
	layer := func(row *historyRow) {
		l := img.Layers[next]
		row.Layer, row.Digest, row.Size = next+1, l.Descriptor.Digest, l.Descriptor.Size
		row.DiffID, row.ChainID = l.DiffID(), chain[next].Digest()
		next++
	}
	for _, h := range img.Spec.History {
		row := historyRow{Created: h.Created, CreatedBy: h.CreatedBy, Author: h.Author, Comment: h.Comment, EmptyLayer: h.EmptyLayer}
		if !h.EmptyLayer && next < len(img.Layers) {
			layer(&row)
		}
		rows = append(rows, row)
	}
	for next < len(img.Layers) {
		var row historyRow
		layer(&row)
		rows = append(rows, row)
	}
	slices.Reverse(rows)
	if len(rows) > 0 {
		rows[0].ID = img.Config.Descriptor.Digest.String()
	}
	return rows
}

func historyListing() listing {
	return listing{
		columns: []column{
			{title: "IMAGE"},
			{title: "CREATED"},
			{title: "CREATED BY", least: 14},
			{title: "SIZE"},
			{title: "COMMENT", least: 7, spare: 1},
			{title: "LAYER", least: shortDigest},
			{title: "DIFF ID", least: shortDigest, spare: 3},
			{title: "CHAIN ID", least: shortDigest, spare: 2},
		},
		fields: record{
			"ID": "IMAGE", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "CreatedBy": "CREATED BY",
			"Size": "SIZE", "Comment": "COMMENT", "Author": "AUTHOR",
			"Layer": "NUMBER", "Digest": "LAYER", "DiffID": "DIFF ID", "ChainID": "CHAIN ID",
		},
	}
}

// show returns the row as people and templates see it.
func (h *historyRow) show(c *call, now time.Time) row {
	id, bytes, layer := missing, size(h.Size), ""
	if h.ID != "" {
		if id = h.ID; !c.flags.Bool("no-trunc") {
			id = short(digest.Digest(h.ID))
		}
	}
	if h.Layer > 0 {
		layer = strconv.Itoa(h.Layer)
	}
	at, since := created(h.Created, now)
	when := since
	if !c.flags.Bool("human") {
		when, bytes = at, strconv.FormatInt(h.Size, 10)
	}
	return row{
		cells: []string{id, when, h.CreatedBy, bytes, h.Comment, c.digest(h.Digest), c.digest(h.DiffID), c.digest(h.ChainID)},
		fields: record{
			"ID": id, "CreatedSince": since, "CreatedAt": at, "CreatedBy": h.CreatedBy, "Size": bytes,
			"Comment": h.Comment, "Author": h.Author, "Layer": layer,
			"Digest": h.Digest.String(), "DiffID": h.DiffID.String(), "ChainID": h.ChainID.String(),
		},
	}
}

// missing is what docker history prints for steps whose image nobody kept.
const missing = "<missing>"

// created says when that was: exactly, and how long ago.
func created(t *time.Time, now time.Time) (at, since string) {
	if t == nil || t.Unix() <= 0 {
		return "", "N/A"
	}
	return t.Format(time.RFC3339), units.HumanDuration(now.Sub(*t)) + " ago"
}
