package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/urfave/cli/v2"

	"github.com/byhand/byhand/internal/ociruntime"
	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/pull"
)

func imagesCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "images",
		Usage:     "list the images in the store",
		UsageText: "byhand images",
		Description: "SIZE is that of the unpacked layers, BLOBS that of the manifest, the config and the\n" +
			"layer blobs that are kept. UNIQUE is what of both no other image needs, SHARED the\n" +
			"rest. USED BY are bundles, mounts and processes.\n\n" +
			"   byhand images\n" +
			"   byhand rm $(byhand images -q)",
		Flags:  []cli.Flag{formatFlag(), noTruncFlag(), idsFlag()},
		Action: action(std, operands{}, withStore(doImages)),
	}
}

// imageRow is one image of byhand images.
type imageRow struct {
	Name     string        `json:"name"`
	Platform string        `json:"platform"`
	Digest   digest.Digest `json:"digest"`
	Index    digest.Digest `json:"index,omitempty"`
	Size     int64         `json:"size"`
	Blobs    int64         `json:"blobs"`
	Unique   int64         `json:"unique"`
	Shared   int64         `json:"shared"`
	UsedBy   []string      `json:"usedBy"`
	Added    time.Time     `json:"added"`
}

func doImages(ctx context.Context, s *session) error {
	l := imagesListing()
	f, err := s.idFormat(l)
	if err != nil {
		return err
	}
	images, err := s.store.Usage(ctx)
	if err != nil {
		return err
	}
	s.explain.List()
	rows := make([]imageRow, 0, len(images))
	for _, u := range images {
		rec := u.Image
		row := imageRow{
			Name: rec.Name, Digest: rec.Manifest.Digest, Index: rec.IndexDigest,
			Size: u.Layers, Blobs: u.Blobs, Unique: u.Unique, Shared: u.Shared,
			UsedBy: append([]string{}, u.Users...), Added: rec.Added,
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
			s.describeImage(ctx, images[i].Image, shown[i].fields)
		}
	}
	return s.list(l, f, shown, rows)
}

func imagesListing() listing {
	return listing{
		columns: []column{
			{title: "IMAGE"},
			{title: "PLATFORM", spare: 3},
			{title: "DIGEST"},
			{title: "SIZE"},
			{title: "BLOBS"},
			{title: "UNIQUE", spare: 2},
			{title: "SHARED", spare: 1},
			{title: "USED BY"},
		},
		fields: record{
			"Name": "IMAGE", "Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", "ID": "IMAGE ID",
			"Platform": "PLATFORM", "Size": "SIZE", "Blobs": "BLOBS", "UniqueSize": "UNIQUE", "SharedSize": "SHARED", "UsedBy": "USED BY",
			"CreatedAt": "CREATED AT", "CreatedSince": "CREATED", "Added": "ADDED",
		},
	}
}

// show returns the row as people and templates see it.
func (r *imageRow) show(c *call) row {
	bytes, blobs, unique, shared := sizeOrNone(r.Size), sizeOrNone(r.Blobs), sizeOrNone(r.Unique), sizeOrNone(r.Shared)
	users := cmp.Or(strings.Join(r.UsedBy, ", "), "-")
	tag := none
	repository, _ := repositoryOf(r.Name)
	if rest := r.Name[len(repository):]; strings.HasPrefix(rest, ":") {
		tag, _, _ = strings.Cut(rest[1:], "@")
	}
	return row{
		cells: []string{r.Name, r.Platform, c.digest(r.Digest), bytes, blobs, unique, shared, users},
		fields: record{
			"Name": r.Name, "Repository": repository, "Tag": tag, "Digest": r.Digest.String(), "Platform": r.Platform,
			"Size": bytes, "Blobs": blobs, "UniqueSize": unique, "SharedSize": shared, "UsedBy": users, "Added": r.Added.Format(time.RFC3339),
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

func sizeOrNone(n int64) string {
	if n == 0 {
		return "-"
	}
	return size(n)
}

func removeCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "rm",
		Usage:     "forget images and free what only they needed; remove bundles",
		UsageText: "byhand rm IMAGE|DIR…",
		Description: "What a bundle or another image uses stays. A DIR is a bundle that byhand made;\n" +
			"what its container wrote goes with it. With --platform, of an image that is there\n" +
			"for several platforms only that one goes.\n\n   byhand rm ./alpine alpine:3.20",
		Action: action(std, operands{min: 1, max: -1}, inNamespaceQuietly(withStore(doRemove))),
	}
}

func doRemove(ctx context.Context, s *session) error {
	names, dirs, err := s.sortRemovals(ctx)
	if err != nil {
		return err
	}
	if err := s.removeBundles(dirs); err != nil {
		return err
	}
	if len(names) == 0 {
		return s.printFreed(overlay.Freed{}, dirs...)
	}
	freed, err := s.store.RemovePlatform(ctx, s.platform, names...)
	if err != nil {
		return s.listed(err)
	}
	s.explain.Forgotten(names)
	return s.printFreed(freed, dirs...)
}

// listed says where to look for the name of an image.
func (s *session) listed(err error) error {
	if isAny[*overlay.NotFoundError](err) {
		return fmt.Errorf("%w; byhand images lists those there are", err)
	}
	return err
}

func pruneCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:        "prune",
		Usage:       "free what no image and no bundle refers to",
		UsageText:   "byhand prune",
		Description: "Removes layers, blobs and leftovers of interrupted commands and killed containers.\n\n   byhand prune",
		Action:      action(std, operands{}, inNamespaceQuietly(withStore(doPrune))),
	}
}

func doPrune(ctx context.Context, s *session) error {
	ociruntime.Sweep()
	freed, err := s.store.Prune(ctx)
	if err != nil {
		return err
	}
	s.explain.Pruned()
	return s.printFreed(freed)
}

// freedReport is what rm and prune print with --json.
type freedReport struct {
	Images  []string `json:"images"`
	Bundles []string `json:"bundles"`
	Layers  int      `json:"layers"`
	Blobs   int      `json:"blobs"`
	Bytes   int64    `json:"bytes"`
	Kept    []string `json:"kept"` // with who uses it
}

func (s *session) printFreed(f overlay.Freed, bundles ...string) error {
	s.explain.Freed(f)
	r := freedReport{Images: append([]string{}, f.Images...), Bundles: append([]string{}, bundles...), Layers: f.Layers, Blobs: f.Blobs, Bytes: f.Bytes, Kept: []string{}}
	for _, k := range f.Kept {
		r.Kept = append(r.Kept, fmt.Sprintf("%s, used by %s", k.What, strings.Join(k.Users, ", ")))
	}
	if s.flags.Bool("json") {
		return s.printJSON(r)
	}
	var b strings.Builder
	for _, n := range append(r.Bundles, r.Images...) {
		b.WriteString("removed " + n + "\n")
	}
	for _, k := range r.Kept {
		b.WriteString("kept " + k + "\n")
	}
	if len(r.Bundles) > 0 && len(r.Images) == 0 {
		return s.write([]byte(b.String())) // a bundle's layers are the store's, which prune frees
	}
	fmt.Fprintf(&b, "freed %s in %s and %s\n", size(r.Bytes), count(r.Layers, "layer"), count(r.Blobs, "blob"))
	return s.write([]byte(b.String()))
}
