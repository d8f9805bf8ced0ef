package pull

import (
	"bytes"
	"compress/gzip"
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/byhand/byhand/internal/inflate"
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
		checkIdle(t, h)
	}
}

func checkIdle(t *testing.T, h *hashers) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open != 0 || len(h.waiting) != 0 || h.asides != 0 {
		t.Errorf("%d streams left open, %d waiting, %d decoders", h.open, len(h.waiting), h.asides)
	}
}

// gzipOf returns 300 kB that are packed to about half of it.
func gzipOf(t *testing.T) []byte {
	t.Helper()
	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	r := rand.New(rand.NewPCG(1, 2))
	for range 300_000 {
		if _, err := zw.Write([]byte{byte(r.ExpFloat64() * 20)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

// Digests are right whatever decoders hash on the side, and whenever these come,
// wait and go.
func TestHashersAside(t *testing.T) {
	packed := gzipOf(t)
	for _, decoders := range []int{1, 2, 5} {
		h, pool := newHashers(), newBlockPool()
		var streams, beside sync.WaitGroup
		done := make(chan struct{})
		for i := range decoders {
			beside.Go(func() { decodeBeside(t, h, packed, uint64(i), done) })
		}
		for i := range 4 {
			streams.Go(func() { hashRandom(t, h, pool, digest.SHA256, uint64(i)) })
		}
		streams.Go(func() { hashRandom(t, h, pool, digest.SHA512, 9) })
		streams.Wait()
		close(done)
		beside.Wait()
		checkIdle(t, h)
	}
}

// decodeBeside decodes the same again and again, and hashes on the side.
func decodeBeside(t *testing.T, h *hashers, packed []byte, seed uint64, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		default:
		}
		s := &waitingSource{packed: packed, r: rand.New(rand.NewPCG(seed, 3))}
		d := inflate.NewDecoder(s, discardingSink(make([]byte, historySize+blockSize+inflate.Slack)))
		s.aside = h.accompany(d, func() bool { return s.r.IntN(2) == 0 })
		if _, err := d.Gunzip(); err != nil {
			t.Error(err)
		}
		s.aside.pause()
	}
}

// No digest waits for a decoder that waits for input or for room.
func TestHashersDecoderWaits(t *testing.T) {
	for _, name := range []string{"input", "room"} {
		t.Run(name, func(t *testing.T) {
			h, pool := newHashers(), newBlockPool()
			h.limit = 1
			other := h.begin(digest.FromString("anything"))
			ring := newRing(pool, 2)
			packed := gzipOf(t)
			blocks := make(chan *block)
			in, room := &input{blocks: blocks}, newRing(pool, 0)
			ctx, cancel := context.WithCancel(t.Context())
			src := sourceFunc(func() []byte {
				if packed != nil { // too little to hash a block beside it
					for range 2 {
						b, err := ring.get(t.Context(), 1)
						if err != nil {
							t.Error(err)
							return nil
						}
						b.data = b.room()
						other.add(b)
					}
					other.end()
					defer func() { packed = nil }()
					return packed[:2000]
				}
				if name == "input" {
					in.take()
				} else if _, err := room.get(ctx, 1); err == nil {
					t.Error("there is room")
				}
				return nil
			})
			d := inflate.NewDecoder(src, discardingSink(make([]byte, historySize+blockSize+inflate.Slack)))
			a := h.accompany(d, func() bool { return false })
			if a == nil {
				t.Log("this processor does not hash on the side")
			}
			in.aside, room.aside = a, a
			var decoding sync.WaitGroup
			decoding.Go(func() {
				_, _ = d.Gunzip() // it gets no more than that
				a.pause()
			})
			select {
			case <-other.done:
			case <-time.After(2 * time.Minute):
				t.Error("the digest waits for the decoder")
			}
			cancel()
			close(blocks)
			decoding.Wait()
			checkIdle(t, h)
		})
	}
}

// What a decoder gives back, and does not take again, is for a worker: here of a
// stream that has ended, after the other decoder that made processors scarce has
// begun to wait.
func TestHashersLeftOver(t *testing.T) {
	h, ring := newHashers(), newRing(newBlockPool(), 2)
	h.limit = 2
	s := h.begin(digest.FromString("anything"))
	first, other := testAside(t, h), testAside(t, h)
	for range 2 {
		b, err := ring.get(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		b.data = b.room()
		s.add(b)
	}
	s.end()
	hash, data := first.Work()
	if hash == nil {
		t.Fatal("there is no work")
	}
	other.pause()
	if _, err := hash.Write(data); err != nil {
		t.Fatal(err)
	}
	first.Done()
	if hash, _ := first.Work(); hash == nil {
		select {
		case <-s.done:
		case <-time.After(2 * time.Minute):
			t.Error("nobody hashes what is left")
		}
	}
	first.pause()
	<-s.done
	checkIdle(t, h)
}

// testAside is a decoder whose reader is never behind.
func testAside(t *testing.T, h *hashers) *aside {
	t.Helper()
	a := h.accompany(inflate.NewDecoder(nil, nil), func() bool { return false })
	if a == nil {
		t.Skip("this processor does not hash on the side")
	}
	return a
}

type sourceFunc func() []byte

func (f sourceFunc) Next() []byte { return f() }

// waitingSource is an inflate.Source that makes the decoder wait now and then.
type waitingSource struct {
	packed []byte
	r      *rand.Rand
	aside  *aside
}

func (s *waitingSource) Next() []byte {
	if s.r.IntN(4) == 0 {
		s.aside.pause()
		defer s.aside.resume()
		time.Sleep(time.Duration(s.r.IntN(300)) * time.Microsecond)
	}
	n := min(len(s.packed), s.r.IntN(50_000)+1)
	if n == 0 {
		return nil
	}
	chunk := s.packed[:n]
	s.packed = s.packed[n:]
	return chunk
}

// discardingSink is an inflate.Sink of one buffer for all.
type discardingSink []byte

func (s discardingSink) Next() ([]byte, error)   { return s, nil }
func (s discardingSink) Flush([]byte, int) error { return nil }

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
