package overlay

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A lock's file is unlinked when it is released, so many that lock and release
// meet files that are about to vanish. Never may two hold the lock.
func TestLockExcludes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.lock")
	var wg sync.WaitGroup
	var held, taken atomic.Int32
	for range 8 {
		wg.Go(func() {
			// On a busy machine it takes longer until it has been taken often.
			for start := time.Now(); time.Since(start) < 500*time.Millisecond ||
				taken.Load() < 100 && time.Since(start) < 30*time.Second; {
				l, err := tryLock(path)
				if err != nil {
					t.Error(err)
					return
				}
				if l == nil {
					continue
				}
				taken.Add(1)
				if n := held.Add(1); n != 1 {
					t.Errorf("%d hold the lock", n)
				}
				time.Sleep(50 * time.Microsecond) // long enough for another to come
				held.Add(-1)
				l.release()
			}
		})
	}
	wg.Wait()
	if taken.Load() < 100 {
		t.Errorf("the lock was taken %d times only", taken.Load())
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the lock's file is left: %v", err)
	}
}

func TestLockDir(t *testing.T) {
	dir := t.TempDir()
	a, err := lockDir(t.Context(), dir, false)
	if err != nil {
		t.Fatal(err)
	}
	b, err := lockDir(t.Context(), dir, false)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := lockDir(ctx, dir, true); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("exclusive beside shared: %v", err)
	}
	time.AfterFunc(20*time.Millisecond, func() { _, _ = a.Close(), b.Close() })
	c, err := lockDir(t.Context(), dir, true)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

// A slot more comes at each tick that finds the processors idle, to the limit.
func TestSlotsWiden(t *testing.T) {
	s := newSlots(1)
	var turns []*turn
	for range 5 {
		turns = append(turns, s.ask(1))
	}
	ready := func() (n int) {
		for _, tu := range turns {
			select {
			case <-tu.ready:
				n++
			default:
			}
		}
		return n
	}
	ticks, answers := make(chan time.Time), make(chan bool)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.widen(ctx, 3, ticks, func() bool { return <-answers })
	}()
	for i, tt := range []struct {
		idle bool
		want int
	}{{false, 1}, {true, 2}, {false, 2}, {true, 3}} {
		ticks <- time.Time{}
		answers <- tt.idle
		if i < 3 {
			ticks <- time.Time{} // so that the answer has counted
			answers <- false
		} else {
			cancel()
			<-ended
		}
		if got := ready(); got != tt.want {
			t.Errorf("after answer %d: %d turns, want %d", i+1, got, tt.want)
		}
	}
	turns[0].end()
	if got := ready(); got != 4 {
		t.Errorf("one ended: %d turns, want 4", got)
	}
	full := newSlots(1)
	full.widen(t.Context(), 0, nil, nil) // returns
}

func TestSlots(t *testing.T) {
	s := newSlots(2)
	sizes := []int64{5, 1, 3, 9, 3, 7}
	var turns []*turn
	for _, n := range sizes {
		turns = append(turns, s.ask(n))
	}
	ready := func() []int64 {
		var now []int64
		for i, tu := range turns {
			select {
			case <-tu.ready:
				now = append(now, sizes[i])
			default:
			}
		}
		return now
	}
	check := func(what string, want ...int64) {
		t.Helper()
		if diff := cmp.Diff(want, ready()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	check("at first", 5, 1)
	turns[1].end()
	turns[1].end()
	check("one ended twice", 5, 1, 9)
	turns[5].end()
	turns[0].end()
	check("one left the queue, one ended", 5, 1, 3, 9)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := turns[4].wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("wait with a dead context: %v", err)
	}
	for _, tu := range turns {
		tu.end()
	}
	if s.free != 2 || len(s.queue) != 0 {
		t.Errorf("%d free, %d queue; want 2 and none", s.free, len(s.queue))
	}
}
