package pull

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// ranges is the part of a blob that several connections fetch side by side,
// ahead of its reader. They fetch one segment after another into memory; the
// reader takes them in order. Each segment is asked for once: where that fails,
// the blob's own connection fetches what is missing when its turn comes, with
// retries, mirrors and all. All methods are for the reader's goroutine.
type ranges struct {
	blob    *blobReader
	launch  func(*segment) // fetches it in a goroutine
	cancel  context.CancelFunc
	running sync.WaitGroup
	refused atomic.Bool // by an answer that leaves no hope for others

	queue []*segment // in order, without gaps; the first is read next
	next  int64      // where the next one begins
	width int        // how many are fetched at once
	slots int        // of the client's memory
	spare [][]byte

	began  time.Time // of the split, when the reader stood at from
	from   int64
	single float64 // bytes a second of the one connection before
	judged bool
}

// segment is a range that is being fetched.
type segment struct {
	start, end int64
	endpoint   *endpoint
	buf        []byte
	got        int           // bytes of buf that have arrived
	more       chan struct{} // told when there is more, or no more

	mu     sync.Mutex
	filled int  // got, as the reader may see it
	done   bool // there will be no more
}

// forkRanges begins to fetch ahead of b. It returns nil if there is no memory
// left for it.
func forkRanges(ctx context.Context, b *blobReader) *ranges {
	limits := b.registry.limits
	rate := b.meter.rate()
	b.meter.reset()
	if b.noRange[b.endpoint] || b.size-b.pos < limits.RangeSize*int64(limits.RangeConnections) {
		return nil
	}
	slots := b.registry.memory.acquire(limits.RangeConnections)
	if slots == 0 {
		return nil
	}
	b.meter.chances--
	ctx, cancel := context.WithCancel(ctx)
	r := &ranges{blob: b, cancel: cancel, slots: slots, width: slots, began: time.Now(), from: b.pos, single: rate}
	r.launch = func(s *segment) {
		q := b.job.request
		q.offset, q.end = s.start, s.end
		r.running.Go(func() {
			err := s.fetch(ctx, q, b.size)
			if refused(err) {
				r.refused.Store(true)
			}
			s.finish()
		})
	}
	// The connection that is open goes on while the others fetch their first
	// segments.
	b.end = b.pos + limits.RangeSize
	r.next = b.end
	r.fill(r.width - 1)
	return r
}

// fill starts segments until n are under way.
func (r *ranges) fill(n int) {
	b := r.blob
	r.judge()
	for len(r.queue) < min(n, r.width) && r.next < b.size && !r.refused.Load() {
		s := &segment{
			start: r.next, end: min(r.next+b.registry.limits.RangeSize, b.size),
			endpoint: b.endpoint, more: make(chan struct{}, 1),
		}
		s.buf = r.buffer()[:s.end-s.start]
		r.next = s.end
		r.queue = append(r.queue, s)
		r.launch(s)
	}
}

// judge ends the fetching side by side if it does not pay: the limit is not one
// of each connection, and more of them only take from others.
func (r *ranges) judge() {
	elapsed := time.Since(r.began)
	rule := r.blob.meter.rule
	if r.judged || elapsed < rule.judge {
		return
	}
	r.judged = true
	if rate := float64(r.blob.pos-r.from) / elapsed.Seconds(); 100*rate < float64(rule.gain)*r.single {
		r.width = 0
		r.blob.meter.chances = 0
	}
}

// pop removes the segment that was read. r must not be nil.
func (r *ranges) pop() {
	r.spare = append(r.spare, r.queue[0].buf[:cap(r.queue[0].buf)])
	r.queue[0] = nil
	r.queue = r.queue[1:]
}

// narrow uses fewer connections after one of them failed: it may have been one
// too many for the host.
func (r *ranges) narrow() {
	if r.width--; r.width < 2 {
		r.width = 0
	}
}

func (r *ranges) buffer() []byte {
	if n := len(r.spare); n > 0 {
		buf := r.spare[n-1]
		r.spare = r.spare[:n-1]
		return buf
	}
	return r.blob.registry.memory.get()
}

// end stops all connections, waits for them, and gives the memory back.
func (r *ranges) end() {
	r.cancel()
	r.running.Wait()
	for len(r.queue) > 0 {
		r.pop()
	}
	r.blob.registry.memory.release(r.slots, r.spare)
	r.spare = nil
}

// readRanges reads what others fetched. When it comes to the end of that, or to
// a gap, the blob's own connection is to go on: end is moved, and nothing read.
// That connection is kept until the others have shown that they deliver.
func (b *blobReader) readRanges(p []byte) (int, error) {
	r := b.ranges
	if r != nil && b.body == nil {
		r.fill(r.width)
	}
	if r == nil || len(r.queue) == 0 {
		b.join()
		return 0, nil
	}
	s := r.queue[0]
	if b.body != nil && !s.begins(b.meter.rule.prove) {
		r.refused.Store(true) // in silence, as a firewall does
		b.join()
		return 0, nil
	}
	n := s.read(p, b.pos)
	switch {
	case n == 0 && r.refused.Load():
		b.join()
		return 0, nil
	case n == 0:
		// The segment ends too early. The rest of it is asked for again.
		b.end = s.end
		r.pop()
		r.narrow()
		return 0, nil
	}
	b.drop()
	b.deliver(n, s.endpoint)
	if b.pos < s.end {
		return n, nil
	}
	r.pop()
	if b.pos == b.size {
		b.join()
		return n, io.EOF
	}
	r.fill(r.width)
	return n, nil
}

// join ends the fetching side by side, if there is any. The one connection has
// the rest of the blob to itself again.
func (b *blobReader) join() {
	if b.ranges != nil {
		if b.ranges.refused.Load() {
			b.meter.chances = 0
		}
		b.ranges.end()
		b.ranges = nil
	}
	if b.body == nil || b.reach == b.size {
		b.end = b.size
	}
}

// begins waits for the segment's first bytes, or its failure.
func (s *segment) begins(within time.Duration) bool {
	late := time.NewTimer(within)
	defer late.Stop()
	select {
	case <-s.more:
		s.wake() // for read
		return true
	case <-late.C:
		return false
	}
}

// read copies what there is at pos, and waits until there is something. It
// returns 0 if nothing will come.
func (s *segment) read(p []byte, pos int64) int {
	for {
		s.mu.Lock()
		filled, done := s.filled, s.done
		s.mu.Unlock()
		// Bytes below filled do not change any more.
		if n := copy(p, s.buf[pos-s.start:filled]); n > 0 || done {
			return n
		}
		<-s.more
	}
}

// fetch makes one attempt at the segment. It fails unless the answer is that
// very part of a blob of size bytes.
func (s *segment) fetch(ctx context.Context, q request, size int64) error {
	q.lane = s.endpoint.takeLane()
	defer s.endpoint.putLane(q.lane)
	resp, err := s.endpoint.send(ctx, q)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusPartialContent {
		return newAnswerError(resp)
	}
	from, to, total, err := parseContentRange(resp.Header.Get("Content-Range"))
	if err != nil || from != s.start || to != s.end-1 || total >= 0 && total != size ||
		resp.ContentLength >= 0 && resp.ContentLength != s.end-s.start {
		return &rangeError{}
	}
	for {
		n, err := resp.Body.Read(s.buf[s.got:])
		s.got += n
		switch {
		case s.got == len(s.buf):
			finishBody(resp)
			return nil
		case err != nil:
			return err // io.EOF is too early, too
		}
		s.show()
	}
}

// finishBody reads the end of an answer that has no length and whose content is
// there: only then its connection can be used again.
func finishBody(resp *http.Response) {
	if resp.ContentLength >= 0 {
		return
	}
	stop := time.AfterFunc(endWait, func() { _ = resp.Body.Close() })
	defer stop.Stop()
	_, _ = resp.Body.Read(make([]byte, 1))
}

// show makes what has arrived visible to the reader.
func (s *segment) show() {
	s.mu.Lock()
	s.filled = s.got
	s.mu.Unlock()
	s.wake()
}

// finish shows the last of it. The connection is free again, so that whoever
// reads to the end may start the next segment.
func (s *segment) finish() {
	s.mu.Lock()
	s.filled, s.done = s.got, true
	s.mu.Unlock()
	s.wake()
}

func (s *segment) wake() {
	select {
	case s.more <- struct{}{}:
	default: // it has been told
	}
}

// refused reports whether err says that ranges are not for this host, or too
// many for it, rather than that something went wrong with this one.
func refused(err error) bool {
	var (
		misplaced *rangeError
		answer    *answerError
	)
	switch {
	case errors.As(err, &misplaced):
		return true
	case errors.As(err, &answer):
		return !temporaryStatus(answer.Code) || answer.Code == http.StatusTooManyRequests
	}
	return false
}

// rangeMemory bounds the buffers of all ranges of a client, and recycles them.
type rangeMemory struct {
	size int64 // of a buffer
	pool sync.Pool

	mu   sync.Mutex
	free int // buffers that may still be handed out
}

func newRangeMemory(l Limits) *rangeMemory {
	m := &rangeMemory{size: l.RangeSize, free: int(l.RangeMemory / l.RangeSize)}
	m.pool.New = func() any { b := make([]byte, m.size); return &b }
	return m
}

// acquire reserves up to n buffers, but not a single one: two connections are
// the least that helps.
func (m *rangeMemory) acquire(n int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n = min(n, m.free)
	if n < 2 {
		return 0
	}
	m.free -= n
	return n
}

// get returns one of the buffers that were acquired.
func (m *rangeMemory) get() []byte {
	b, _ := m.pool.Get().(*[]byte)
	return *b
}

// release ends the reservation of n buffers and takes back those that were used.
func (m *rangeMemory) release(n int, buffers [][]byte) {
	for _, b := range buffers {
		m.pool.Put(&b)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.free += n
}
