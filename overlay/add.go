package overlay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// AddOptions configures [Store.AddAll]. The zero value is ready to use.
type AddOptions struct {
	// Jobs is how many layers are fetched and unpacked at once at most; 0 is
	// the number of CPUs, at least 4. There are more than CPUs only while
	// these have little to do, as the network is slow.
	Jobs int
	// Damaged reports whether an error that ended a source's stream says that
	// its content was not what it should be. Such a layer is fetched once
	// more. If nil, errors with a method Damaged() bool decide themselves.
	Damaged func(error) bool
}

// leastJobs is the default with few CPUs: the network is the narrow place
// more often than they are.
const leastJobs = 4

// AddAll makes sure that the store has every layer of an image, base first,
// and returns them in that order. Layers that are there are not opened; the
// others are fetched and unpacked at once, the largest first. One that the
// image has several times is opened once. A layer of another boot that may not
// have reached the disk is proved first, see [Store.Prove], and fetched only if
// it cannot be. A layer that another process is making is waited for. Each
// layer appears by one rename after its stream ended verified; a layer that
// leans on those below it, after those. The first failure stops the rest and is
// returned as a [LayerError]; layers finished by then stay, anything else is
// removed.
func (s *Store) AddAll(ctx context.Context, srcs []Source, o AddOptions) ([]Layer, error) {
	a, err := s.newAdder(ctx, srcs, o)
	if err != nil {
		return nil, err
	}
	if err := s.Prove(ctx, a.diffIDs()); err != nil {
		return nil, err
	}
	if err := a.run(ctx); err != nil {
		return nil, err
	}
	layers := a.layers()
	if !a.worked && s.syncIfQuiet(ctx, layers) {
		for i := range layers {
			layers[i].Synced = true
		}
	}
	return layers, nil
}

func (a *adder) layers() []Layer {
	layers := make([]Layer, len(a.tasks))
	for i, t := range a.tasks {
		layers[i] = t.layer
	}
	return layers
}

func (a *adder) diffIDs() []digest.Digest {
	ids := make([]digest.Digest, len(a.tasks))
	for i, t := range a.tasks {
		ids[i] = t.diff.Digest()
	}
	return ids
}

// adder is one AddAll.
type adder struct {
	store   *Store
	chains  []ChainID
	tasks   []*task
	slots   *slots
	more    int // slots that are added while processors are idle
	damaged func(error) bool
	worked  bool // some layer was not there
}

// task is one layer of an AddAll. Its goroutine alone writes its fields until
// done is closed.
type task struct {
	adder *adder
	src   Source
	index int // from 0, base first
	chain ChainID
	diff  DiffID
	size  int64
	begun time.Time
	again bool  // made though it is there
	twin  *task // what the layer is made of instead of its source, or nil
	layer Layer
	done  chan struct{} // closed when the layer has its name
}

// newAdder checks the sources, leases their layers, and finds which are there.
func (s *Store) newAdder(ctx context.Context, srcs []Source, o AddOptions) (*adder, error) {
	ids := make([]digest.Digest, len(srcs))
	for i, src := range srcs {
		ids[i] = src.DiffID()
	}
	if err := validate(ids); err != nil {
		return nil, err
	}
	if err := s.claimFormat(ctx); err != nil {
		return nil, err
	}
	a := &adder{store: s, chains: ChainIDs(ids), damaged: o.Damaged}
	if a.damaged == nil {
		a.damaged = isDamaged
	}
	if o.Jobs <= 0 {
		o.Jobs = max(leastJobs, runtime.GOMAXPROCS(0))
	}
	first := min(o.Jobs, max(2, runtime.GOMAXPROCS(0)))
	a.slots, a.more = newSlots(first), o.Jobs-first
	if err := s.lease(ctx, layerLeases(a.chains)...); err != nil {
		return nil, err
	}
	for i, src := range srcs {
		t := &task{
			adder: a, src: src, index: i, chain: a.chains[i], diff: DiffID(ids[i]),
			begun: time.Now(), done: make(chan struct{}),
		}
		if sz, ok := src.(sizer); ok {
			t.size = sz.Size()
		}
		a.tasks = append(a.tasks, t)
	}
	pair(a.tasks)
	return a, nil
}

// run makes what is missing, in one goroutine for each layer.
func (a *adder) run(ctx context.Context) error {
	var todo []*task
	for _, t := range a.tasks {
		there, err := t.present()
		if err != nil {
			return t.fail(err)
		}
		if !there {
			todo = append(todo, t)
		}
	}
	a.worked = len(todo) > 0
	slices.SortStableFunc(todo, func(x, y *task) int { return cmp.Compare(y.size, x.size) })
	g, ctx := errgroup.WithContext(ctx)
	defer a.widen(ctx)()
	for _, t := range todo {
		if t.twin != nil {
			g.Go(func() error { return t.fail(t.follow(ctx)) })
			continue
		}
		turn := a.slots.ask(t.size) // here, so that the order holds
		g.Go(func() error { return t.fail(t.run(ctx, turn)) })
	}
	return g.Wait()
}

// present finds the layer in the store.
func (t *task) present() (bool, error) {
	if t.again {
		return false, nil
	}
	s := t.adder.store
	l, err := s.load(t.chain)
	var missing *MissingLayerError
	if errors.As(err, &missing) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := s.ensureLink(t.chain); err != nil {
		return false, err
	}
	t.finish(l, EventPresent)
	return true, nil
}

func (t *task) finish(l Layer, kind EventKind) {
	t.layer = l
	close(t.done)
	e := t.event(kind)
	e.Layer = l
	t.adder.store.observe(e)
}

func (t *task) event(kind EventKind) Event {
	return Event{Kind: kind, Index: t.index + 1, ChainID: t.chain, DiffID: t.diff, Elapsed: time.Since(t.begun)}
}

// fail names the layer in an error.
func (t *task) fail(err error) error {
	if err == nil {
		return nil
	}
	if on, _ := onOverlay(t.adder.store.layout.root); on && errors.Is(err, unix.EPERM) {
		err = fmt.Errorf("%w; the store is on an overlay itself, as all of a container is but its volumes, which takes no whiteouts: name one on a volume", err)
	}
	return &LayerError{Index: t.index + 1, DiffID: t.diff, Err: err}
}

// run takes the layer's lock and makes the layer unless somebody else has.
func (t *task) run(ctx context.Context, turn *turn) error {
	defer func() { turn.end() }()
	if err := turn.wait(ctx); err != nil {
		return err
	}
	s := t.adder.store
	lock, err := tryLock(s.layout.chainLock(t.chain))
	if err != nil {
		return err
	}
	if lock == nil {
		// Others may have the turn while this one only waits.
		turn.end()
		s.observe(t.event(EventWaiting))
		if lock, err = waitLock(ctx, s.layout.chainLock(t.chain)); err != nil {
			return err
		}
	}
	defer lock.release()
	if there, err := t.present(); there || err != nil {
		return err
	}
	if turn.ended() { // the other died or failed: take over
		turn = t.adder.slots.ask(t.size)
		if err := turn.wait(ctx); err != nil {
			return err
		}
	}
	return t.make(ctx, turn)
}

// make stages the layer and commits it.
func (t *task) make(ctx context.Context, turn *turn) error {
	s := t.adder.store
	st, err := t.staged(ctx)
	turn.end()
	if err != nil {
		return err
	}
	defer st.discard()
	if st.open() {
		if err := st.waitBelow(ctx); err != nil {
			return err
		}
		if err := st.settle(ctx, t.below()); err != nil {
			return fmt.Errorf("settle on the layers below: %w", err)
		}
		e := t.event(EventSettled)
		e.Unpacked = st.result
		s.observe(e)
	}
	l, err := st.commit(ctx)
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	t.finish(l, EventCommitted)
	return nil
}

// staged returns the layer as an earlier process left it, or fetches it.
func (t *task) staged(ctx context.Context) (*staged, error) {
	st, err := t.adopt()
	if st != nil || err != nil {
		return st, err
	}
	if st, err = t.stage(ctx); err != nil {
		return nil, err
	}
	e := t.event(EventUnpacked)
	e.Unpacked, e.Whiteouts, e.Opaques = st.result, st.whiteouts, st.opaques
	e.Work = st.work
	t.adder.store.observe(e)
	return st, nil
}

// waitBelow waits until all layers below are committed. The layer is parked
// meanwhile.
func (st *staged) waitBelow(ctx context.Context) error {
	for _, below := range st.task.adder.tasks[:st.task.index] {
		select {
		case <-below.done:
			continue
		default:
		}
		if !st.parked {
			st.park()
		}
		select {
		case <-below.done:
		case <-ctx.Done():
			st.leave(ctx)
			return context.Cause(ctx)
		}
	}
	return st.unpark()
}

// below returns the lower dirs under the layer, base first.
func (t *task) below() []string {
	var dirs []string
	for _, below := range t.adder.tasks[:t.index] {
		dirs = append(dirs, below.layer.Dir)
	}
	return dirs
}
