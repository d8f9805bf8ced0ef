package overlay

import (
	"context"
	"sync"
)

// slots hands out a bounded number of turns, the largest asker first.
type slots struct {
	mu    sync.Mutex
	free  int
	queue []*turn
}

// turn is one asker's place.
type turn struct {
	slots *slots
	size  int64
	ready chan struct{} // closed when the turn came
}

func newSlots(n int) *slots { return &slots{free: n} }

// ask queues for a turn. Every turn that was asked for must be ended.
func (s *slots) ask(size int64) *turn {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &turn{slots: s, size: size, ready: make(chan struct{})}
	if s.free > 0 {
		s.free--
		close(t.ready)
		return t
	}
	at := len(s.queue)
	for at > 0 && s.queue[at-1].size < size {
		at--
	}
	s.queue = append(s.queue, nil)
	copy(s.queue[at+1:], s.queue[at:])
	s.queue[at] = t
	return t
}

// wait waits for the turn.
func (t *turn) wait(ctx context.Context) error {
	select {
	case <-t.ready:
		return nil
	default:
	}
	select {
	case <-t.ready:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ended reports whether the turn was given back.
func (t *turn) ended() bool { return t.slots == nil }

// end gives the turn to the next, or leaves the queue. Ending twice is
// harmless.
func (t *turn) end() {
	s := t.slots
	if s == nil {
		return
	}
	t.slots = nil
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, q := range s.queue {
		if q == t {
			s.queue = append(s.queue[:i], s.queue[i+1:]...)
			return
		}
	}
	s.give()
}

// give makes one more turn free.
func (s *slots) give() {
	if len(s.queue) == 0 {
		s.free++
		return
	}
	next := s.queue[0]
	s.queue = s.queue[1:]
	close(next.ready)
}
