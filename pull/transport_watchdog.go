package pull

import (
	"context"
	"fmt"
	"io"
	"time"
)

// stallError reports an answer or a transfer that made no progress.
type stallError struct{ after time.Duration }

func (e *stallError) Error() string { return fmt.Sprintf("no progress for %s", e.after) }

// Timeout says that this is one, as net.Error has it.
func (e *stallError) Timeout() bool { return true }

// watchdog ends an attempt that makes no progress. It is armed only while the
// attempt waits for the network: a consumer that takes its time to read is
// not a stall.
type watchdog struct {
	timer *time.Timer
	after time.Duration
	total *time.Timer // bounds the attempt as a whole; may be nil
}

func newWatchdog(after time.Duration, cancel context.CancelCauseFunc) *watchdog {
	w := &watchdog{after: after}
	w.timer = time.AfterFunc(after, func() { cancel(&stallError{after: after}) })
	w.timer.Stop()
	return w
}

func (w *watchdog) arm()    { w.timer.Reset(w.after) }
func (w *watchdog) disarm() { w.timer.Stop() }

// stop ends the watch for good.
func (w *watchdog) stop() {
	w.disarm()
	if w.total != nil {
		w.total.Stop()
	}
}

// guardedBody is an answer's body under a watchdog. Closing it ends the request.
type guardedBody struct {
	body     io.ReadCloser
	watchdog *watchdog
	cancel   context.CancelCauseFunc
	explain  func(error) error // why the request was cancelled
}

func (b *guardedBody) Read(p []byte) (int, error) {
	b.watchdog.arm()
	n, err := b.body.Read(p)
	b.watchdog.disarm()
	if err != nil && err != io.EOF { //nolint:errorlint // io.Reader returns io.EOF itself
		err = b.explain(err)
	}
	return n, err
}

func (b *guardedBody) Close() error {
	b.watchdog.stop()
	b.cancel(nil)
	return b.body.Close()
}

// armedReader reads a body inside an attempt, under its watchdog.
type armedReader struct {
	r io.Reader
	w *watchdog
}

func (a *armedReader) Read(p []byte) (int, error) {
	a.w.arm()
	defer a.w.disarm()
	return a.r.Read(p)
}
