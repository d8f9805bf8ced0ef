package overlay

import (
	"context"
	"errors"
	"io"
)

// A twin is a layer that an image has once more above, as some builders make
// them. It is fetched once: the others are made of it.

// pair finds each layer's twin, the lowest of those with its diff ID.
func pair(tasks []*task) {
	first := map[DiffID]*task{}
	for _, t := range tasks {
		if low, ok := first[t.diff]; ok {
			t.twin = low
		} else {
			first[t.diff] = t
		}
	}
}

// follow makes the layer once its twin is there. It has no turn meanwhile.
func (t *task) follow(ctx context.Context) error {
	select {
	case <-t.twin.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return t.run(ctx, t.adder.slots.ask(t.size))
}

// open returns the layer's tar: of its twin, or from its source.
func (t *task) open(ctx context.Context) (io.ReadCloser, error) {
	if t.twin == nil {
		return t.src.Open(ctx)
	}
	return t.adder.store.OpenLayer(ctx, t.twin.layer)
}

// retry tells whether err is worth another try at the source.
func (t *task) retry(err error) bool {
	var r *RebuildError
	return errors.As(err, &r) || t.adder.damaged(err)
}
