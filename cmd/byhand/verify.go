package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/pull"
)

func verifyCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "prove again that what the store has of an image is right",
		UsageText: "byhand verify [--repair] IMAGE",
		Description: "Calculates every digest of the image again, from what is on disk now: index,\n" +
			"manifest and config, the layer blobs that are kept, and the unpacked layers,\n" +
			"whose tars are made anew to be hashed. Names every file that was changed, is\n" +
			"missing or was added, and says how it differs. The exit status is 3 if anything\n" +
			"does; another modification time alone is only a warning.\n\n   byhand verify alpine:3.20",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "repair", Usage: "fetch what is damaged again, put it in place, and verify once more"},
		},
		Action: action(std, operands{min: 1, max: 1}, inNamespaceQuietly(withStore(doVerify))),
	}
}

// verifyReport is what byhand verify prints with --json.
type verifyReport struct {
	Image  string        `json:"image"`
	Digest digest.Digest `json:"digest"`
	OK     bool          `json:"ok"`
	*overlay.Report
}

func doVerify(ctx context.Context, s *session) error {
	ref, err := s.parseStored(ctx, s.args[0])
	if err != nil {
		return err
	}
	rec, err := s.record(ctx, ref)
	if errors.Is(err, fs.ErrNotExist) {
		// What an index had nothing better than. No registry is asked here.
		if other, oerr := s.store.Find(ctx, ref.String(), ocispec.Platform{}); oerr == nil && pull.Serves(s.platform, platformOf(other)) {
			rec, err = other, nil
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("verify: %w; byhand images lists those there are", err)
	}
	if err != nil {
		return err
	}
	report, err := s.verify(ctx, ref, rec)
	// A repair can bring to light what could not be looked at before.
	const rounds = 6
	for i := 0; err == nil && s.flags.Bool("repair") && !report.OK() && i < rounds; i++ {
		s.warn(fmt.Sprintf("%s: %s; repairing", ref, failed(report)))
		if err = s.repair(ctx, ref, rec, report); err != nil {
			return fmt.Errorf("repair %s: %w", ref, err)
		}
		report, err = s.verify(ctx, ref, rec)
	}
	if err != nil {
		return fmt.Errorf("verify %s: %w", ref, err)
	}
	if err := s.printVerify(ref, rec, report); err != nil {
		return err
	}
	if report.OK() {
		return nil
	}
	remedy := fmt.Sprintf("byhand verify --repair %s replaces what is damaged", ref)
	if s.flags.Bool("repair") {
		remedy = "the repair did not help: something else changes the store, or its disk fails"
	}
	return &codedError{fmt.Errorf("verify %s: %s; %s", ref, failed(report), remedy), exitVerification}
}

// failed sums up what does not match.
func failed(r *overlay.Report) string {
	bad := r.Failed()
	names := make([]string, len(bad))
	for i, c := range bad {
		names[i] = fmt.Sprintf("%s %s", c, strings.ToLower(string(c.Verdict)))
	}
	const most = 5
	if len(names) > most {
		names = append(names[:most], fmt.Sprintf("%d more", len(bad)-most))
	}
	return strings.Join(names, ", ")
}

// verify shows how far the layers are, if it can be told which there are.
func (s *session) verify(ctx context.Context, ref pull.Reference, rec overlay.Image) (*overlay.Report, error) {
	o := overlay.VerifyOptions{Jobs: s.flags.Int("jobs")}
	if img, err := s.stored(ctx, ref, rec); err == nil {
		s.show.plan(img, workVerify)
		o.Progress = func(layer int, done, total int64) {
			if layer > len(img.Layers) || total <= 0 {
				return
			}
			d := img.Layers[layer-1].Descriptor // the display counts compressed bytes
			s.show.fetched(d.Digest, int64(float64(d.Size)*min(1, float64(done)/float64(total))))
			if done == total {
				s.show.done(d.Digest, stateChecked)
			}
		}
	}
	report, err := s.store.Verify(ctx, rec, o)
	if err != nil {
		return nil, err
	}
	if !report.OK() {
		// What another process was removing is not damaged.
		if gone := s.stillListed(ctx, rec); gone != nil {
			return nil, gone
		}
	}
	s.explainChecks(ctx, ref, report)
	return report, nil
}

// stillListed returns an error if the store does not list rec any more.
func (s *session) stillListed(ctx context.Context, rec overlay.Image) error {
	images, err := s.store.Images(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(images, func(img overlay.Image) bool {
		return img.Name == rec.Name && img.Manifest.Digest == rec.Manifest.Digest
	}) {
		return &overlay.NotFoundError{Name: rec.Name + ", manifest " + rec.Manifest.Digest.String() + ","}
	}
	return nil
}

// repair fetches what does not match, and only that.
func (s *session) repair(ctx context.Context, ref pull.Reference, rec overlay.Image, r *overlay.Report) error {
	var docs, blobs []digest.Digest
	var layers []int
	for _, c := range r.Failed() {
		switch c.Kind {
		case overlay.CheckLayer:
			layers = append(layers, c.Layer)
		case overlay.CheckBlob:
			blobs = append(blobs, c.Expected)
		default:
			docs = append(docs, c.Expected)
		}
	}
	img, err := s.goodSource(ctx, ref, rec, docs, blobs, layers)
	if err != nil {
		return err
	}
	for _, d := range slices.Concat(docs, blobs) {
		if err := s.store.DropBlob(d); err != nil {
			return err
		}
	}
	if err := s.keepMetadata(ctx, img); err != nil {
		return err
	}
	for _, l := range img.Layers {
		if slices.Contains(blobs, l.Descriptor.Digest) && !s.store.HasBlob(l.Descriptor) {
			if err := s.fetchBlob(ctx, l); err != nil {
				return err
			}
		}
	}
	if len(layers) == 0 {
		return nil
	}
	s.img = img
	_, err = s.store.Repair(ctx, s.sources(img), layers, overlay.AddOptions{Jobs: s.flags.Int("jobs"), Damaged: s.damaged})
	return err
}

// goodSource is where what is damaged can be had again: the store itself if
// it has the blobs of all layers in question, else where the image came from,
// by its digest.
func (s *session) goodSource(ctx context.Context, ref pull.Reference, rec overlay.Image, docs, blobs []digest.Digest, layers []int) (*pull.Image, error) {
	if len(docs) == 0 {
		img, err := s.stored(ctx, ref, rec)
		if err != nil {
			return nil, err
		}
		kept := func(n int) bool {
			d := img.Layers[n-1].Descriptor
			return s.store.HasBlob(d) && !slices.Contains(blobs, d.Digest)
		}
		if len(blobs) == 0 && !slices.ContainsFunc(layers, func(n int) bool { return !kept(n) }) {
			return img, nil
		}
	}
	pinned, platform := ref, s.platform
	if ref.Transport == pull.Registry {
		pinned.Digest = rec.Manifest.Digest
		if slices.Contains(docs, rec.IndexDigest) {
			pinned.Digest, platform = rec.IndexDigest, platformOf(rec)
		}
	}
	img, err := s.client.Resolve(ctx, pinned, platform)
	if err != nil {
		return nil, err
	}
	if got := img.Manifest.Descriptor.Digest; got != rec.Manifest.Digest {
		return nil, &pull.DigestError{Object: "manifest of " + ref.String(), Want: rec.Manifest.Digest, Got: got}
	}
	img.Reference = ref
	return img, nil
}

// printVerify prints the table that a person would make by hand, and below it
// what differs. On a terminal digests are short.
func (s *session) printVerify(ref pull.Reference, rec overlay.Image, r *overlay.Report) error {
	if s.flags.Bool("json") {
		return s.printJSON(verifyReport{ref.String(), rec.Manifest.Digest, r.OK(), r})
	}
	show := digest.Digest.String
	if term.IsTerminal(int(s.std.out.Fd())) {
		show = short
	}
	var rows [][]string
	for _, c := range r.Checks {
		calculated := "-"
		if c.Calculated != "" {
			calculated = show(c.Calculated)
		}
		rows = append(rows, []string{c.String(), show(c.Expected), calculated, string(c.Verdict)})
	}
	if err := s.table([]string{"WHAT", "EXPECTED", "CALCULATED", "RESULT"}, rows); err != nil {
		return err
	}
	var b strings.Builder
	for _, c := range r.Failed() {
		b.WriteString(oneLine(fmt.Sprintf("%s: %s", c, c.Reason)) + "\n")
	}
	for _, d := range r.Differences {
		line := d.String()
		if d.Warning {
			line = "warning: " + line
		}
		b.WriteString(oneLine(line) + "\n")
	}
	for _, n := range r.Notes {
		b.WriteString(oneLine("note: "+n) + "\n")
	}
	return s.write([]byte(b.String()))
}
