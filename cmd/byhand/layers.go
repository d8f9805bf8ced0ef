package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/opencontainers/go-digest"
	"github.com/urfave/cli/v2"

	"github.com/byhand/byhand/internal/explain"
	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/pull"
	"github.com/byhand/byhand/unpack"
)

func layersCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "layers",
		Usage:     "show an image's layers: the chain, sizes, counts and what is wasted",
		UsageText: "byhand layers IMAGE",
		Description: "Prints a row for each layer, base first: digest, diff ID, chain ID, compressed\n" +
			"and uncompressed size, how many files, whiteouts and opaque directories it has,\n" +
			"how many bytes of it upper layers hide, and its lower dir once it is unpacked.\n\n" +
			"   byhand layers alpine",
		Flags:  []cli.Flag{formatFlag(), noTruncFlag(), keepBlobsFlag()},
		Action: action(std, operands{min: 1, max: 1}, withTree(doLayers)),
	}
}

// layerRow is one layer of an image. The counts are those of its archive.
type layerRow struct {
	Layer     int           `json:"layer"` // 1 is the base
	Digest    digest.Digest `json:"digest"`
	DiffID    digest.Digest `json:"diffID"`
	ChainID   digest.Digest `json:"chainID"`
	MediaType string        `json:"mediaType"`
	Size      int64         `json:"size"`             // of the compressed blob
	TarSize   int64         `json:"uncompressedSize"` // of the tar
	Files     int           `json:"files"`            // regular ones
	Dirs      int           `json:"directories"`
	Symlinks  int           `json:"symlinks"`
	HardLinks int           `json:"hardLinks"`
	Devices   int           `json:"devices"`
	FIFOs     int           `json:"fifos"`
	Whiteouts int           `json:"whiteouts"`
	Opaques   int           `json:"opaques"`
	Bytes     int64         `json:"contentSize"`        // of its regular files
	Wasted    int64         `json:"wasted"`             // of those
	LowerDir  string        `json:"lowerDir,omitempty"` // once it is unpacked
}

func doLayers(ctx context.Context, t *imageTree) error {
	s := t.session
	l := layersListing()
	f, err := s.listFormat(l)
	if err != nil {
		return err
	}
	rows, err := t.layerRows(ctx)
	if err != nil {
		return err
	}
	shown := make([]row, len(rows))
	for i := range rows {
		shown[i] = rows[i].show(s.call)
	}
	if err := s.list(l, f, shown, rows); err != nil {
		return err
	}
	s.sayEfficiency(rows)
	return nil
}

// sayEfficiency sums up what the layers waste.
func (s *session) sayEfficiency(rows []layerRow) {
	var wasted, bytes int64
	for _, r := range rows {
		wasted, bytes = wasted+r.Wasted, bytes+r.Bytes
	}
	efficiency := 100.0
	if bytes > 0 {
		efficiency = 100 * float64(bytes-wasted) / float64(bytes)
	}
	s.log(levelInfo, fmt.Sprintf("efficiency %.1f %%: of %s in files, %s do not show", efficiency, size(bytes), size(wasted)))
}

// layerRows counts in the layers' archives, or in what they were unpacked to.
func (t *imageTree) layerRows(ctx context.Context) ([]layerRow, error) {
	s := t.session
	if err := t.load(ctx, s.args[0]); err != nil {
		return nil, err
	}
	rows := newLayerRows(t.img)
	s.addLowerDirs(t.img, rows)
	stats, err := t.Stats(ctx)
	if err != nil {
		return nil, err
	}
	for i, st := range stats {
		rows[i].count(st.Counts)
		rows[i].TarSize, rows[i].Bytes, rows[i].Wasted = st.TarSize, st.Bytes, st.Hidden
		s.explain.Counted(i+1, explain.LayerFacts{
			Entries: st.Counts.Entries, Files: st.Counts.Files, Whiteouts: st.Counts.Whiteouts, Opaques: st.Counts.Opaques,
			TarBytes: st.TarSize, Wasted: st.Hidden,
		})
	}
	return rows, nil
}

func newLayerRows(img *pull.Image) []layerRow {
	rows := make([]layerRow, len(img.Layers))
	chain := overlay.ChainIDs(diffIDs(img))
	for i, l := range img.Layers {
		d := l.Descriptor
		rows[i] = layerRow{
			Layer: i + 1, Digest: d.Digest, DiffID: l.DiffID(), ChainID: chain[i].Digest(), MediaType: d.MediaType, Size: d.Size,
		}
	}
	return rows
}

// addLowerDirs adds what the store knows of unpacked layers, from the base up
// to the first that it lacks, and says whether it has them all.
func (s *session) addLowerDirs(img *pull.Image, rows []layerRow) bool {
	chain := overlay.ChainIDs(diffIDs(img))
	n := 0
	for n < len(chain) && s.store.Has(chain[n]) {
		n++
	}
	if n == 0 {
		return len(chain) == 0
	}
	layers, err := s.store.Layers(diffIDs(img)[:n])
	if err != nil {
		return false // removed meanwhile, by another process
	}
	for i, l := range layers {
		rows[i].count(l.Counts)
		rows[i].TarSize, rows[i].Bytes, rows[i].LowerDir = l.TarSize, l.Bytes, l.Dir
	}
	return n == len(chain)
}

func (r *layerRow) count(c unpack.Counts) {
	r.Files, r.Dirs, r.Symlinks, r.HardLinks = c.Files, c.Dirs, c.Symlinks, c.HardLinks
	r.Devices, r.FIFOs, r.Whiteouts, r.Opaques = c.Devices, c.FIFOs, c.Whiteouts, c.Opaques
}

func layersListing() listing {
	return listing{
		columns: []column{
			{title: "LAYER"},
			{title: "DIGEST", least: shortDigest},
			{title: "DIFF ID", least: shortDigest},
			{title: "CHAIN ID", least: shortDigest},
			{title: "SIZE"},
			{title: "UNCOMPRESSED", spare: 2},
			{title: "FILES"},
			{title: "WHITEOUTS"},
			{title: "OPAQUE"},
			{title: "WASTED"},
			{title: "LOWER DIR", least: shortDigest, spare: 1},
		},
		fields: record{
			"Layer": "LAYER", "Digest": "DIGEST", "DiffID": "DIFF ID", "ChainID": "CHAIN ID", "MediaType": "MEDIA TYPE",
			"Size": "SIZE", "UncompressedSize": "UNCOMPRESSED", "Files": "FILES", "Directories": "DIRECTORIES",
			"Symlinks": "SYMLINKS", "HardLinks": "HARD LINKS", "Devices": "DEVICES", "FIFOs": "FIFOS",
			"Whiteouts": "WHITEOUTS", "Opaques": "OPAQUE", "ContentSize": "CONTENT", "Wasted": "WASTED", "LowerDir": "LOWER DIR",
		},
	}
}

// show returns the row as people and templates see it.
func (r *layerRow) show(c *call) row {
	wasted, dir := size(r.Wasted), "-"
	if r.LowerDir != "" {
		dir = r.LowerDir
	}
	number, files := strconv.Itoa(r.Layer), strconv.Itoa(r.Files)
	whiteouts, opaques := strconv.Itoa(r.Whiteouts), strconv.Itoa(r.Opaques)
	return row{
		cells: []string{
			number, c.digest(r.Digest), c.digest(r.DiffID), c.digest(r.ChainID), size(r.Size), size(r.TarSize),
			files, whiteouts, opaques, wasted, dir,
		},
		fields: record{
			"Layer": number, "Digest": r.Digest.String(), "DiffID": r.DiffID.String(), "ChainID": r.ChainID.String(),
			"MediaType": r.MediaType, "Size": size(r.Size), "UncompressedSize": size(r.TarSize), "Files": files,
			"Directories": strconv.Itoa(r.Dirs), "Symlinks": strconv.Itoa(r.Symlinks), "HardLinks": strconv.Itoa(r.HardLinks),
			"Devices": strconv.Itoa(r.Devices), "FIFOs": strconv.Itoa(r.FIFOs), "Whiteouts": whiteouts, "Opaques": opaques,
			"ContentSize": size(r.Bytes), "Wasted": wasted, "LowerDir": r.LowerDir,
		},
	}
}
