package overlay

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/imagetree"
	"github.com/byhand/byhand/unpack"
)

// verifier proves the layers of one image.
type verifier struct {
	store   *Store
	o       VerifyOptions
	format  Format
	owners  bool // can be compared
	trusted bool // attributes of the name space trusted can be seen
	report  *Report
	proofs  []*layerProof
	unseen  atomic.Bool // an attribute should be there that the caller cannot see
}

// layerProof is what is known of one layer.
type layerProof struct {
	index   int // from 0
	chain   ChainID
	chains  []ChainID // of this layer and those below, base first
	diffID  DiffID
	dir     *layerDir // nil if there is none
	absent  bool      // not even a damaged one
	facts   layerFile // empty if layer.json is damaged
	got     digest.Digest
	size    int64 // bytes of the tar
	layer   *imagetree.Layer
	content map[string]*unpack.EntryError // files whose content is wrong, by name
	gone    map[int]goneFile              // by number of the entry among those of files
	copies  map[string]bool               // names where a lower file was copied to
	links   []linkedName
	diffs   []Difference

	verdict Verdict // "" until something is wrong
	reason  string
	bare    string // why metadata was not compared
}

// goneFile is a file that lost the name of its entry. Hard links may be left.
type goneFile struct {
	size int64
	sum  [sha256.Size]byte
}

// newVerifier opens the layers.
func (s *Store) newVerifier(ids []digest.Digest, o VerifyOptions, r *Report) (*verifier, error) {
	format, known, err := s.Format()
	if err != nil {
		return nil, err
	}
	if !known {
		format = s.ownFormat()
	}
	v := &verifier{store: s, o: o, format: format, report: r, trusted: seesTrusted()}
	v.owners = !format.Squashed && format.UIDMap == idMap("/proc/self/uid_map") && format.GIDMap == idMap("/proc/self/gid_map")
	chains := ChainIDs(ids)
	for i := range ids {
		p := &layerProof{
			index: i, chain: chains[i], chains: chains[:i+1], diffID: DiffID(ids[i]),
			content: map[string]*unpack.EntryError{}, gone: map[int]goneFile{}, copies: map[string]bool{},
		}
		v.proofs = append(v.proofs, p)
		if err := v.open(p); err != nil {
			v.close()
			return nil, err
		}
	}
	return v, nil
}

func (v *verifier) close() {
	for _, p := range v.proofs {
		if p.dir != nil {
			_ = p.dir.Close()
		}
	}
}

// open opens the layer's directory.
func (v *verifier) open(p *layerProof) error {
	var err error
	p.dir, err = v.store.openLayerDir(p.chain)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, serr := os.Lstat(v.store.layout.layer(p.chain)); errors.Is(serr, fs.ErrNotExist) {
			p.absent = true
			p.fail(Mismatch, "not unpacked")
			return nil
		}
		p.fail(Mismatch, "its directory diff is missing")
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		p.fail(Mismatch, "its place in the store holds something else than a directory")
	case err != nil:
		return fmt.Errorf("verify layer %d: %w", p.index+1, err)
	}
	return nil
}

// fail settles the verdict; the first reason stays.
func (p *layerProof) fail(verdict Verdict, format string, args ...any) {
	if p.verdict == "" {
		p.verdict, p.reason = verdict, fmt.Sprintf(format, args...)
	}
}

func (p *layerProof) differ(name, attribute, expected, found string) {
	p.diffs = append(p.diffs, Difference{
		Layer: p.index + 1, Name: name, Attribute: attribute, Expected: expected, Found: found,
	})
}

// run proves the layers that are wanted, and reads what the others say.
func (v *verifier) run(ctx context.Context, wanted func(index int) bool) error {
	g, each := errgroup.WithContext(ctx)
	g.SetLimit(v.o.jobs())
	for _, p := range v.proofs {
		if p.dir != nil {
			g.Go(func() error { return v.read(each, p, wanted(p.index)) })
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	tree, err := v.stack(ctx)
	if err != nil {
		return err
	}
	g, each = errgroup.WithContext(ctx)
	g.SetLimit(v.o.jobs())
	for _, p := range v.proofs {
		if p.dir == nil || !wanted(p.index) {
			continue
		}
		v.files(p)
		if p.index < tree.Layers() {
			g.Go(func() error { return v.compare(each, p, tree) })
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := v.compareLinks(ctx, tree); err != nil {
		return err
	}
	for _, p := range v.proofs {
		v.judge(p, wanted(p.index))
	}
	return nil
}

// read makes the layer's tar anew, hashes it and reads its headers. Of a layer
// that is not wanted the content is left out.
func (v *verifier) read(ctx context.Context, p *layerProof, wanted bool) error {
	r, w := io.Pipe()
	p.facts, _ = v.store.readLayerFile(p.chain) // files has what is wrong with it
	counted := &countWriter{w: w}
	if v.o.Progress != nil {
		counted.told = func(n int64) { v.o.Progress(p.index+1, n, p.facts.TarSize) }
	}
	h := newHashWriter(p.diffID.Digest().Algorithm(), counted)
	o := unpack.RebuildOptions{
		NoOpenat2: v.store.opts.NoOpenat2, HeadersOnly: !wanted,
		Damaged: func(e *unpack.EntryError) { p.content[e.Name] = e },
		Gone: func(file int, size int64, sum [sha256.Size]byte) {
			p.gone[file] = goneFile{size, sum}
		},
	}
	var rebuildErr error
	done := make(chan struct{})
	go func() {
		defer close(done)
		rebuildErr = unpack.Rebuild(ctx, p.dir.diff, p.dir.openRecord, h, o)
		w.CloseWithError(rebuildErr)
	}()
	var treeErr error
	p.layer, treeErr = imagetree.ReadLayer(ctx, p.index, r, imagetree.ReadOptions{
		Limits: v.store.opts.Limits, AnyOwner: v.format.Squashed, NoDevices: p.facts.NotKept.Devices,
	})
	_, _ = io.Copy(io.Discard, r) // the digest is of all of it
	_ = r.Close()
	<-done
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	p.got, p.size = h.digest(), counted.n
	return v.judgeRead(ctx, p, rebuildErr, treeErr)
}

// judgeRead says what it means that a layer's tar could not be made or read.
func (v *verifier) judgeRead(ctx context.Context, p *layerProof, rebuildErr, treeErr error) error {
	var none *NoRecordError
	var record *unpack.RecordError
	switch {
	case errors.As(rebuildErr, &none):
		p.got = ""
		p.fail(Unproved, "%s; with --repair it is unpacked again", none.Error())
		p.bare = "it has no record"
	case errors.As(rebuildErr, &record):
		p.got = ""
		p.differ(nameRecord, "content", "a record of the layer's tar", record.Reason)
		p.fail(Mismatch, "the record of its tar is damaged")
		p.bare = "its record is damaged"
	case rebuildErr != nil:
		return fmt.Errorf("verify layer %d: %w", p.index+1, rebuildErr)
	case treeErr != nil:
		p.fail(Mismatch, "its tar is malformed: %v", treeErr)
		p.bare = "its record is damaged"
	default:
		copies, err := unpack.RecordCopies(ctx, p.dir.openRecord)
		if err != nil {
			return fmt.Errorf("verify layer %d: %w", p.index+1, err)
		}
		for _, name := range copies {
			p.copies[name] = true
		}
	}
	if p.bare != "" {
		p.layer = nil
	}
	return nil
}

// stack settles the layers on one another, up to the first that cannot be
// read.
func (v *verifier) stack(ctx context.Context) (*imagetree.Tree, error) {
	var layers []*imagetree.Layer
	for _, p := range v.proofs {
		if p.layer == nil {
			break
		}
		layers = append(layers, p.layer)
	}
	tree, err := imagetree.Stack(ctx, layers, v.store.opts.Limits)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if hole := tree.Layers(); hole < len(v.proofs) {
		if p := v.proofs[hole]; err != nil {
			p.fail(Mismatch, "its tar is malformed: %v", err)
			p.bare = "its record is damaged"
		}
		for _, p := range v.proofs[hole+1:] {
			if p.bare == "" {
				p.bare = fmt.Sprintf("layer %d below it cannot be read", hole+1)
			}
		}
	}
	return tree, nil
}

// judge settles the verdict on a layer of which everything was looked at.
func (v *verifier) judge(p *layerProof, wanted bool) {
	if !wanted || p.dir == nil {
		return
	}
	bad := 0
	names := map[string]bool{}
	for _, d := range p.diffs {
		if !d.Warning && !names[d.Name] {
			names[d.Name] = true
			bad++
		}
	}
	switch {
	case p.got != "" && p.got != p.diffID.Digest() && bad == 0:
		p.fail(Mismatch, "the record of its tar was changed, or content in a way that no checksum shows")
	case bad == 1:
		p.fail(Mismatch, "a file is not as the layer says")
	case bad > 1:
		p.fail(Mismatch, "%d files are not as the layer says", bad)
	case p.got != p.diffID.Digest():
		p.fail(Mismatch, "its tar has another digest")
	case p.bare != "":
		p.fail(Unproved, "its files' attributes were not compared: %s", p.bare)
	}
	v.report.Differences = append(v.report.Differences, p.diffs...)
}

// check is the layer's row of the report.
func (v *verifier) check(p *layerProof) Check {
	c := Check{
		Kind: CheckLayer, Layer: p.index + 1, Expected: p.diffID.Digest(), Calculated: p.got,
		Verdict: p.verdict, Reason: p.reason,
	}
	if c.Verdict == "" {
		c.Verdict = Match
	}
	return c
}

// countWriter counts what passes.
type countWriter struct {
	w    io.Writer
	n    int64
	told func(n int64)
}

func (c *countWriter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	if c.told != nil {
		c.told(c.n)
	}
	return c.w.Write(p)
}
