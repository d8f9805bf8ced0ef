package overlay

import (
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/byhand/byhand/internal/sys"
)

// idleCheck is how often it is looked whether one more layer at once is worth it.
const idleCheck = 50 * time.Millisecond

// widen begins as many layers at once as there are processors, whose caches then
// hold their blocks, and one more whenever those wait for the network instead. It
// lasts until the function is called.
func (a *adder) widen(ctx context.Context) (end func()) {
	if a.more == 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	ticker := time.NewTicker(idleCheck)
	var done sync.WaitGroup
	done.Go(func() { a.slots.widen(ctx, a.more, ticker.C, idleness()) })
	return func() {
		ticker.Stop()
		cancel()
		done.Wait()
	}
}

// widen gives n more turns, one at each tick by which idle says that processors
// have had nothing to do.
func (s *slots) widen(ctx context.Context, n int, ticks <-chan time.Time, idle func() bool) {
	for n > 0 {
		select {
		case <-ctx.Done():
			return
		case <-ticks:
		}
		if idle() {
			s.mu.Lock()
			s.give()
			s.mu.Unlock()
			n--
		}
	}
}

// idleness returns a function that reports whether the process has used less
// than half of the processors' time since it was called last.
func idleness() func() bool {
	last := time.Now()
	used, _ := sys.CPUTime() // unknown is as if idle: more layers at once do no harm
	return func() bool {
		now, _ := sys.CPUTime()
		passed, took := time.Since(last), now-used
		last, used = last.Add(passed), now
		return took < passed*time.Duration(runtime.GOMAXPROCS(0))/2
	}
}
