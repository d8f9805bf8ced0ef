package pull

import (
	"hash"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/byhand/byhand/internal/sha256pair"
)

// hashers computes the digests of all streams of an image. A SHA-256 digest
// takes the least time beside decoding, and two take less together than one
// after the other, so a block waits for a decoder or for a block of another
// stream, though not for long. For the same reason there are no more workers
// than it takes.
type hashers struct {
	limit int // of workers, and how many processors there are

	mu      sync.Mutex
	waiting []*hashing // those with blocks that nobody has, in order
	workers int
	asides  int // decoders that hash on the side and are not waiting themselves
	open    int // streams that may be paired and are not done
}

// How many blocks of one stream wait for company before they are hashed without,
// and how many before one more worker is worth it. Both must be less than the
// rings hold besides what their other stages have in hand.
const (
	longWait = 3
	backlog  = 4
)

func newHashers() *hashers { return &hashers{limit: runtime.GOMAXPROCS(0)} }

// hashing is the digest of one stream. add and end are for one goroutine, sum
// for another.
type hashing struct {
	hashers *hashers
	want    digest.Digest
	hash    hash.Hash
	pairs   bool // sha256pair knows the algorithm
	done    chan struct{}
	current *block        // taken from blocks by whoever hashes it
	spent   time.Duration // by workers

	// Below hashers.mu.
	blocks []*block
	busy   bool // somebody has the hash, or it is in waiting
	ended  bool
}

// begin starts a digest by the algorithm of want. It must be ended.
func (h *hashers) begin(want digest.Digest) *hashing {
	s := &hashing{
		hashers: h, want: want, hash: newHash(want),
		pairs: want.Algorithm() == digest.SHA256 && sha256pair.Available(),
		done:  make(chan struct{}),
	}
	if s.pairs {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.open++
	}
	return s
}

// add hashes b some time, and releases it.
func (s *hashing) add(b *block) {
	h := s.hashers
	h.mu.Lock()
	defer h.mu.Unlock()
	s.blocks = append(s.blocks, b)
	if !s.busy {
		s.busy = true
		h.waiting = append(h.waiting, s)
	}
	h.employ(len(s.blocks) >= backlog)
}

// end says that there are no more blocks.
func (s *hashing) end() {
	h := s.hashers
	h.mu.Lock()
	defer h.mu.Unlock()
	s.ended = true
	if !s.busy {
		h.finish(s)
	}
	h.employ(false)
}

// finish lets sum return.
func (h *hashers) finish(s *hashing) {
	close(s.done)
	if s.pairs {
		h.open--
	}
}

// employ starts a worker if there is work and nobody for it, or too few.
func (h *hashers) employ(behind bool) {
	if h.workers > 0 && (!behind || h.workers == h.limit) {
		return
	}
	if first, _ := h.choose(); first != nil {
		h.workers++
		go h.work()
	}
}

// choose returns two streams to hash together, or one that should not wait any
// longer, or none.
func (h *hashers) choose() (first, second *hashing) {
	var urgent *hashing
	for _, s := range h.waiting {
		if urgent == nil && h.urgent(s) {
			urgent = s
		}
		switch {
		case !s.pairs:
		case first == nil:
			first = s
		case second == nil:
			second = s
		}
	}
	switch {
	case urgent == nil && (h.scarce() || second == nil):
		return nil, nil
	case urgent == nil, urgent == first:
		return first, second
	case !urgent.pairs:
		return urgent, nil
	}
	return urgent, first
}

// urgent says whether s should wait no longer.
func (h *hashers) urgent(s *hashing) bool {
	return !s.pairs || len(s.blocks) >= longWait || !h.scarce() && (s.ended || h.open < 2)
}

// scarce says whether the streams have more to do than there are processors for,
// about two for each decoder.
func (h *hashers) scarce() bool { return 2*h.asides > h.limit }

// sum waits for the last block and returns the digest.
func (s *hashing) sum() digest.Digest {
	<-s.done
	return sum(s.want, s.hash)
}

// work hashes until there is nothing to do.
func (h *hashers) work() {
	for {
		first, second := h.next()
		if first == nil {
			return
		}
		began := time.Now()
		if second == nil {
			_, _ = first.hash.Write(first.current.data) // a hash.Hash never fails
		} else {
			sha256pair.Write(first.hash, second.hash, first.current.data, second.current.data)
			second.current.release()
			began = began.Add(time.Since(began) / 2) // half of it is for each
			second.spent += time.Since(began)
		}
		first.spent += time.Since(began)
		first.current.release()
		h.giveBack(first, second)
	}
}

// next takes streams to hash a block of.
func (h *hashers) next() (first, second *hashing) {
	h.mu.Lock()
	defer h.mu.Unlock()
	first, second = h.choose()
	if first == nil {
		h.workers--
		return nil, nil
	}
	h.take(first)
	if second != nil {
		h.take(second)
	}
	return first, second
}

// take makes the first block of s the caller's.
func (h *hashers) take(s *hashing) {
	i := slices.Index(h.waiting, s)
	h.waiting = slices.Delete(h.waiting, i, i+1)
	s.current = s.blocks[0]
	s.blocks = slices.Delete(s.blocks, 0, 1)
}

// giveBack lets others have the streams.
func (h *hashers) giveBack(streams ...*hashing) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range streams {
		if s == nil {
			continue
		}
		s.current = nil
		switch s.busy = len(s.blocks) > 0; {
		case s.busy:
			h.waiting = append(h.waiting, s)
		case s.ended:
			h.finish(s)
		}
	}
}
