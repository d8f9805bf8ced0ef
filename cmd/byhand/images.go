package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/urfave/cli/v2"

	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/pull"
)

func imagesCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:        "images",
		Usage:       "list the images in the store",
		UsageText:   "byhand images",
		Description: "SIZE is that of the unpacked layers, or - before they are unpacked.\n\n   byhand images",
		Flags:       []cli.Flag{formatFlag(), noTruncFlag()},
		Action:      action(std, operands{}, withStore(doImages)),
	}
}

// imageRow is one image of byhand images.
type imageRow struct {
	Name     string        `json:"name"`
	Platform string        `json:"platform"`
	Digest   digest.Digest `json:"digest"`
	Index    digest.Digest `json:"index,omitempty"`
	Size     int64         `json:"size"`
	Added    time.Time     `json:"added"`
}

func doImages(ctx context.Context, s *session) error {
	l := imagesListing()
	f, err := s.listFormat(l)
	if err != nil {
		return err
	}
	images, err := s.store.Images(ctx)
	if err != nil {
		return err
	}
	s.explain.List()
	rows := make([]imageRow, 0, len(images))
	for _, rec := range images {
		row := imageRow{
			Name: rec.Name, Digest: rec.Manifest.Digest, Index: rec.IndexDigest,
			Size: s.unpackedSize(ctx, rec), Added: rec.Added,
		}
		if rec.Manifest.Platform != nil {
			row.Platform = pull.FormatPlatform(*rec.Manifest.Platform)
		}
		rows = append(rows, row)
	}
	shown := make([]row, len(rows))
	for i := range rows {
		shown[i] = rows[i].show(s.call)
		if f != nil {
			s.describeImage(ctx, images[i], shown[i].fields)
		}
	}
	return s.list(l, f, shown, rows)
}

func imagesListing() listing {
	return listing{
		columns: []column{{title: "IMAGE"}, {title: "PLATFORM"}, {title: "DIGEST"}, {title: "SIZE"}},
		fields: record{
			"Name": "IMAGE", "Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", "ID": "IMAGE ID",
			"Platform": "PLATFORM", "Size": "SIZE", "CreatedAt": "CREATED AT", "CreatedSince": "CREATED", "Added": "ADDED",
		},
	}
}

// show returns the row as people and templates see it.
func (r *imageRow) show(c *call) row {
	bytes := "-"
	if r.Size > 0 {
		bytes = size(r.Size)
	}
	tag := none
	repository, _ := repositoryOf(r.Name)
	if rest := r.Name[len(repository):]; strings.HasPrefix(rest, ":") {
		tag, _, _ = strings.Cut(rest[1:], "@")
	}
	return row{
		cells: []string{r.Name, r.Platform, c.digest(r.Digest), bytes},
		fields: record{
			"Name": r.Name, "Repository": repository, "Tag": tag, "Digest": r.Digest.String(), "Platform": r.Platform,
			"Size": bytes, "Added": r.Added.Format(time.RFC3339),
		},
	}
}

// none is what docker images prints for a name without a tag.
const none = "<none>"

// describeImage adds what only the image's documents tell. Where they cannot
// be read, as byhand verify would say, it stays unsaid.
func (s *session) describeImage(ctx context.Context, rec overlay.Image, fields record) {
	fields["ID"], fields["CreatedAt"], fields["CreatedSince"] = none, "", "N/A"
	var manifest struct {
		Config struct {
			Digest digest.Digest `json:"digest"`
		} `json:"config"`
	}
	var config struct {
		Created *time.Time `json:"created"`
	}
	if s.readDocument(ctx, rec.Manifest.Digest, &manifest) != nil {
		return
	}
	id := manifest.Config.Digest
	if fields["ID"] = short(id); s.flags.Bool("no-trunc") {
		fields["ID"] = id.String()
	}
	if s.readDocument(ctx, id, &config) == nil {
		fields["CreatedAt"], fields["CreatedSince"] = created(config.Created, time.Now())
	}
}

// readDocument parses a manifest or config of the store.
func (s *session) readDocument(ctx context.Context, d digest.Digest, v any) error {
	raw, err := s.store.ReadBlob(ctx, d)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, v)
}

// unpackedSize is the size of the image's files on disk, 0 while it is not
// unpacked.
func (s *session) unpackedSize(ctx context.Context, rec overlay.Image) (n int64) {
	ids, err := s.store.DiffIDs(ctx, rec)
	if err != nil {
		return 0
	}
	layers, err := s.store.Layers(ids)
	if err != nil {
		return 0
	}
	for _, l := range layers {
		n += l.Bytes
	}
	return n
}

func removeCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:        "rm",
		Usage:       "forget images and free what only they needed",
		UsageText:   "byhand rm IMAGE…",
		Description: "What a bundle or another image uses stays.\n\n   byhand rm alpine:3.20",
		Action:      action(std, operands{min: 1, max: -1}, inNamespaceQuietly(withStore(doRemove))),
	}
}

func doRemove(ctx context.Context, s *session) error {
	names := make([]string, len(s.args))
	for i, arg := range s.args {
		ref, err := s.parse(arg)
		if err != nil {
			return err
		}
		names[i] = ref.String()
	}
	freed, err := s.store.Remove(ctx, names...)
	if isAny[*overlay.NotFoundError](err) {
		return fmt.Errorf("%w; byhand images lists those there are", err)
	}
	if err != nil {
		return err
	}
	return s.printFreed(freed)
}

func pruneCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:        "prune",
		Usage:       "free what no image and no bundle refers to",
		UsageText:   "byhand prune",
		Description: "Removes layers, blobs and leftovers of interrupted commands.\n\n   byhand prune",
		Action:      action(std, operands{}, inNamespaceQuietly(withStore(doPrune))),
	}
}

func doPrune(ctx context.Context, s *session) error {
	freed, err := s.store.Prune(ctx)
	if err != nil {
		return err
	}
	return s.printFreed(freed)
}

// freedReport is what rm and prune print with --json.
type freedReport struct {
	Images []string `json:"images"`
	Layers int      `json:"layers"`
	Blobs  int      `json:"blobs"`
	Bytes  int64    `json:"bytes"`
	Kept   []string `json:"kept"` // with who uses it
}

func (s *session) printFreed(f overlay.Freed) error {
	s.explain.Freed(f)
	r := freedReport{Images: append([]string{}, f.Images...), Layers: f.Layers, Blobs: f.Blobs, Bytes: f.Bytes, Kept: []string{}}
	for _, k := range f.Kept {
		r.Kept = append(r.Kept, fmt.Sprintf("%s, used by %s", k.What, strings.Join(k.Users, ", ")))
	}
	if s.flags.Bool("json") {
		return s.printJSON(r)
	}
	var b strings.Builder
	for _, n := range r.Images {
		b.WriteString("removed " + n + "\n")
	}
	for _, k := range r.Kept {
		b.WriteString("kept " + k + "\n")
	}
	fmt.Fprintf(&b, "freed %s in %s and %s\n", size(r.Bytes), count(r.Layers, "layer"), count(r.Blobs, "blob"))
	return s.write([]byte(b.String()))
}
