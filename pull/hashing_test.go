package pull

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// Digests are right whatever streams come together, and nothing runs on.
func TestHashers(t *testing.T) {
	for _, streams := range []int{1, 2, 3, 7} {
		h, pool := newHashers(), newBlockPool()
		var group sync.WaitGroup
		for i := range streams {
			algorithm := digest.SHA256
			if i%4 == 3 {
				algorithm = digest.SHA512
			}
			group.Go(func() { hashRandom(t, h, pool, algorithm, uint64(i)) })
		}
		group.Wait()
		h.mu.Lock()
		if h.open != 0 || len(h.waiting) != 0 {
			t.Errorf("%d streams: %d left open, %d waiting", streams, h.open, len(h.waiting))
		}
		h.mu.Unlock()
	}
}

// hashRandom is one stream of blocks of any length.
func hashRandom(t *testing.T, h *hashers, pool *blockPool, algorithm digest.Algorithm, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	ring := newRing(pool, outBlocks)
	want := algorithm.Hash()
	s := h.begin(digest.NewDigest(algorithm, want))
	for range r.IntN(60) {
		b, err := ring.get(context.Background(), 1)
		if err != nil {
			t.Error(err)
			return
		}
		b.data = b.room()[:r.IntN(blockSize)]
		for i := 0; i < len(b.data); i += 1 + r.IntN(1000) {
			b.data[i] = byte(r.Uint32())
		}
		want.Write(b.data)
		s.add(b)
		if r.IntN(5) == 0 {
			time.Sleep(time.Duration(r.IntN(300)) * time.Microsecond)
		}
	}
	s.end()
	if got := s.sum(); got != digest.NewDigest(algorithm, want) {
		t.Errorf("stream %d: digest %s, want %s", seed, got, digest.NewDigest(algorithm, want))
	}
}
