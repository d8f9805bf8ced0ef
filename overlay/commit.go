package overlay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/byhand/byhand/unpack"
)

// staged is a layer in staging: verified, but not visible.
type staged struct {
	task   *task
	path   string   // in staging; becomes layers/CHAINID
	diff   *os.File // its diff directory
	result unpack.Result
	work   time.Duration // that Apply took, without waiting
	parked bool          // its name in staging is the layer's
	gone   bool          // committed, removed, or left for others

	skipped []string // what could not be kept
	notKept notKept

	whiteouts, opaques []string // named by the layer, where Options.Markers asks for them
	markers            int64    // bytes of those
}

// stage unpacks the layer's stream into staging. A damaged stream is opened
// once more.
func (t *task) stage(ctx context.Context) (*staged, error) {
	st, err := t.stageOnce(ctx)
	var d *damageError
	if err == nil || ctx.Err() != nil || !errors.As(err, &d) {
		return st, err
	}
	e := t.event(EventRetry)
	e.Err = d.err
	t.adder.store.observe(e)
	t.twin = nil
	st, err = t.stageOnce(ctx)
	if errors.As(err, &d) {
		err = fmt.Errorf("fetched twice: %w", d.err)
	}
	return st, err
}

// stageOnce returns a staged layer whose stream ended verified, or leaves
// nothing.
func (t *task) stageOnce(ctx context.Context) (_ *staged, err error) {
	st, err := t.newStaged()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			st.discard()
		}
	}()
	t.adder.store.observe(t.event(EventStarted))
	rc, err := t.open(ctx)
	if err != nil {
		if t.retry(err) {
			err = &damageError{err}
		}
		return nil, err
	}
	in := &stream{r: rc}
	began := time.Now()
	st.result, err = st.apply(ctx, in)
	st.work = time.Since(began) - in.waited
	if err == nil {
		// Apply reads to the end, but it is the end that proves the layer, so
		// nothing is left to trust here.
		err = in.drain(ctx)
	}
	if err != nil {
		err = in.judge(ctx, err, t.retry)
	}
	if cerr := rc.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("close stream: %w", cerr)
	}
	if err != nil {
		return nil, err
	}
	if !errors.Is(in.end, io.EOF) {
		return nil, errors.New("stream was not read to its end")
	}
	for _, skip := range st.result.Skipped {
		st.skipped = append(st.skipped, skip.String())
		st.notKept.add(skip)
	}
	return st, nil
}

// apply unpacks the stream and records it.
func (st *staged) apply(ctx context.Context, in *stream) (unpack.Result, error) {
	record, err := st.task.adder.store.recorders.open(st.recordPath())
	if err != nil {
		return unpack.Result{}, err
	}
	o := st.unpackOptions()
	o.Record = record
	result, err := unpack.Apply(ctx, st.diff, in.reader(), o)
	if cerr := record.Close(); err == nil {
		err = cerr
	}
	return result, err
}

func (st *staged) recordPath() string { return filepath.Join(st.path, nameRecord) }

func (st *staged) unpackOptions() unpack.Options {
	o := st.task.adder.store.opts
	u := unpack.Options{Limits: o.Limits, Owners: o.Owners, NoOpenat2: o.NoOpenat2}
	if o.UserXattr {
		u.Format = unpack.OverlayUser
	}
	if o.Markers {
		u.Entry = st.marker
	}
	return u
}

// markerRoom is how many bytes of names marker notes. A layer may say of one
// directory a million times that it is opaque, and its name may be long.
const markerRoom = 16 << 20

// marker notes the name of an entry that hides what is below.
func (st *staged) marker(e unpack.Entry) {
	if e.Type != 'W' && e.Type != 'O' {
		return
	}
	const each = 16 // of a string besides its bytes
	if st.markers += int64(len(e.Name)) + each; st.markers > markerRoom {
		return
	}
	switch e.Type {
	case 'W':
		st.whiteouts = append(st.whiteouts, e.Name)
	case 'O':
		st.opaques = append(st.opaques, e.Name)
	}
}

// newStaged makes an empty layer in staging.
func (t *task) newStaged() (*staged, error) {
	s := t.adder.store
	o, err := s.own()
	if err != nil {
		return nil, err
	}
	st := &staged{task: t, path: o.work(s.layout)}
	diff := filepath.Join(st.path, nameDiff)
	err = ensureDir(dirMode{st.path, 0o700})
	if err == nil {
		err = ensureDir(dirMode{diff, 0o755})
	}
	if err == nil {
		st.diff, err = os.Open(diff)
	}
	if err != nil {
		st.discard()
		return nil, fmt.Errorf("stage layer: %w", err)
	}
	return st, nil
}

// settle completes the layer from those below it; dirs are base first.
func (st *staged) settle(ctx context.Context, dirs []string) error {
	w := &laterRecord{from: &st.task.adder.store.recorders, path: st.recordPath()}
	record := unpack.NewSettleRecord(ctx, w, st.task.adder.store.opts.Limits)
	err := settleLayer(ctx, st.diff, dirs, st.result.Pending, st.task.adder.store.opts.UserXattr, record)
	if err == nil {
		err = record.Finish()
	}
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	return err
}

// open reports whether the layers below have a say in this one. A whiteout
// does too: in a directory that merges with nothing, overlayfs would list it.
func (st *staged) open() bool {
	p := st.result.Pending
	return !p.Empty() || len(p.Whiteouts) > 0
}

// discard removes the staged layer, unless it is committed. Trees left behind
// here are swept later.
func (st *staged) discard() {
	if st.diff != nil {
		_ = st.diff.Close()
		st.diff = nil
	}
	if st.gone {
		return
	}
	st.gone = true
	s := st.task.adder.store
	if err := s.removeStaged(filepath.Base(st.path)); err != nil {
		s.warn(err, "remove staged layer")
	}
}

// commit gives the layer its final name, the one moment at which it becomes
// visible. The caller holds the chain's lock.
func (st *staged) commit(ctx context.Context) (Layer, error) {
	if err := ctx.Err(); err != nil {
		return Layer{}, context.Cause(ctx)
	}
	s, t := st.task.adder.store, st.task
	f := st.record()
	if err := st.writeFiles(f); err != nil {
		return Layer{}, err
	}
	if s.mustSync() {
		// Before the rename, so that the name is never seen on a disk that
		// lacks the content.
		if err := syncFS(st.path); err != nil {
			return Layer{}, err
		}
	}
	if err := s.ensureLink(t.chain); err != nil {
		return Layer{}, err
	}
	if err := st.publish(ctx); err != nil {
		return Layer{}, err
	}
	if s.mustSync() {
		if err := errors.Join(syncDir(s.layout.layers()), syncDir(s.layout.links())); err != nil {
			return Layer{}, err
		}
	}
	return s.layerOf(f), nil
}

// publish renames the layer. What discard finds in staging then is the one
// whose place it took, if there was one.
func (st *staged) publish(ctx context.Context) error {
	s, t := st.task.adder.store, st.task
	if t.again {
		return s.exchange(ctx, st.path, t.chain)
	}
	final := s.layout.layer(t.chain)
	err := renameNew(st.path, final)
	if errors.Is(err, fs.ErrExist) {
		// A layer that could not be trusted has the name.
		if err = s.retire(final); err == nil {
			err = renameNew(st.path, final)
		}
	}
	st.gone = err == nil
	return err
}

func (st *staged) record() layerFile {
	s, t := st.task.adder.store, st.task
	f := layerFile{
		Version: layerVersion, ChainID: t.chain, DiffID: t.diff,
		Created: time.Now().UTC(), Boot: s.boot, Synced: s.mustSync(),
		Counts: st.result.Counts, Bytes: st.result.Bytes, TarSize: st.result.TarSize,
		Skipped: st.skipped, NotKept: st.notKept,
	}
	if t.index > 0 {
		f.Parent = t.adder.chains[t.index-1]
	}
	return f
}

// writeFiles writes the files beside diff, layer.json last.
func (st *staged) writeFiles(f layerFile) error {
	s, t := st.task.adder.store, st.task
	write := func(name string, raw []byte) error {
		return writeNew(filepath.Join(st.path, name), raw, 0o644, false)
	}
	if err := write(nameLink, []byte(t.chain.short())); err != nil {
		return err
	}
	if t.index > 0 { // Docker writes none for a base layer
		if err := write(nameLower, []byte(s.layout.lowerText(t.adder.chains[:t.index]))); err != nil {
			return err
		}
	}
	raw, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return write(nameLayerJSON, raw)
}
