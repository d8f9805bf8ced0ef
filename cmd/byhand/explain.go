package main

import (
	"context"
	"os"

	"github.com/opencontainers/go-digest"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/byhand/byhand/bundle"
	"github.com/byhand/byhand/internal/explain"
	"github.com/byhand/byhand/internal/imagetree"
	"github.com/byhand/byhand/internal/serve"
	"github.com/byhand/byhand/internal/userns"
	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/pull"
)

// narrator returns what --explain asks for, or nil.
func narrator(f *cli.Context, stderr *os.File) *explain.Narrator {
	if !f.Bool("explain") {
		return nil
	}
	return explain.New(explain.NewWriter(stderr, explain.Options{
		JSON:  f.Bool("json") || f.String("progress") == "json",
		Color: term.IsTerminal(int(stderr.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
	}))
}

// explained runs h and narrates how it fails.
func explained(ctx context.Context, c *call, h handler) error {
	err := h(ctx, c)
	if err == nil || c.explain == nil || isAny[*silentError](err) || exitCode(err) == exitUsage {
		return err
	}
	status := exitCode(err)
	if sig := interrupted(ctx, err); sig != 0 {
		status = exitSignal + int(sig)
	}
	c.explain.Failed(err, status)
	return err
}

// explainNamespace tells of the user namespace that this process was started
// in for the command.
func (c *call) explainNamespace(s userns.Status) {
	if c.explain == nil {
		return
	}
	if uids, gids, err := userns.Current(); err == nil {
		c.explain.Namespace(s, uids, gids)
	}
}

// explainMount tells of the mount that the supervisor of a run makes.
func (c *call) explainMount(st start) error {
	if c.explain == nil || !st.mount {
		return nil
	}
	o, err := overlay.BundleMount(st.bundle)
	if err == nil {
		c.explain.Mount(o, explain.Mount{Private: true})
	}
	return err
}

// explainLater tells of the mount that a bundle still needs.
func (p *bundlePlan) explainLater() error {
	if p.session.explain == nil || p.scratch || p.rootfs != bundle.RootFSOverlay {
		return nil
	}
	o, err := overlay.BundleMount(p.dir)
	if err == nil {
		p.session.explain.Mount(o, explain.Mount{Later: true})
	}
	return err
}

// explainContent tells which layer a file's content comes from.
func (t *imageTree) explainContent(ctx context.Context, given string, e *imagetree.Entry) error {
	n := t.session.explain
	if n == nil || !e.IsRegular() {
		return nil
	}
	entry, err := t.ArchiveName(ctx, e.Content)
	if err != nil {
		return err
	}
	name := e.Name
	if e.Layer != e.Content.Layer { // a hard link, of another name there
		name = entry
	}
	n.Content(given, name, e.Content.Layer, entry)
	return nil
}

// explainChecks tells of what verify has calculated.
func (s *session) explainChecks(ctx context.Context, ref pull.Reference, r *overlay.Report) {
	if s.explain == nil {
		return
	}
	var lowers []overlay.Layer
	img, err := s.local(ctx, ref)
	if err == nil {
		lowers, err = s.store.Layers(diffIDs(img))
	}
	blobs := map[int]digest.Digest{}
	for _, c := range r.Checks {
		if c.Kind == overlay.CheckBlob && c.Verdict == overlay.Match {
			blobs[c.Layer] = c.Expected
		}
	}
	for _, c := range r.Checks {
		lower := ""
		if err == nil && c.Layer > 0 && c.Layer <= len(lowers) {
			lower = lowers[c.Layer-1].Dir
		}
		s.explain.Checked(c, lower, blobs[c.Layer])
	}
}

// explainAccess tells of a request that was answered.
func (c *call) explainAccess() func(serve.Access) {
	if c.explain == nil {
		return nil
	}
	return func(a serve.Access) {
		c.explain.Served(explain.Served{
			Method: a.Method, Path: a.Path, Range: a.Range, Authorization: a.Authorization, Status: a.Status, Bytes: a.Bytes, Took: a.Duration,
		})
	}
}

// explainProgress is the display of a session that narrates: what was
// announced and said is part of the narration, and there are no bars.
type explainProgress struct {
	progress // of --progress json, or one that shows nothing
	narrator *explain.Narrator
}

var _ progress = (*explainProgress)(nil)

func newExplainProgress(n *explain.Narrator, mode string, stderr *os.File) (progress, error) {
	switch mode {
	case "auto", "tty", "plain":
		mode = "none"
	}
	other, err := newProgress(mode, stderr)
	if err != nil {
		return nil, err
	}
	return &explainProgress{progress: other, narrator: n}, nil
}

func (p *explainProgress) plan(img *pull.Image, w work) {
	p.narrator.Image(img)
	p.progress.plan(img, w)
}

func (p *explainProgress) say(line string) { p.narrator.Say(line) }
