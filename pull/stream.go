package pull

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

var errClosed = errors.New("read layer: the stream is closed")

// A stream delivers one blob, decompressed or as it is. Its stages run at the
// same time, each in a goroutine, and hand blocks to one another:
//
//	fetch ─┬─► hash (digest), keep
//	       └─► decode ─┬─► hash (diff ID)
//	                   └─► Read, NextChunk
//
// Every channel has room for all blocks of its ring, so that sending never
// blocks; a stage waits only for content or for a free block, and stops when
// the context is done. That is why cancelling ends all of them.
type stream struct {
	object  string
	desc    ocispec.Descriptor
	diffID  digest.Digest // "": deliver the compressed bytes
	body    io.ReadCloser
	resumed *resumed // body, if its beginning is there already
	keep    io.Writer
	limits  Limits
	notify  func(Event)
	warn    func(string)
	reject  func() // told once if the bytes were not those of desc

	in, outRing          *ring
	toHash, toDecode     chan *block
	toDiff, out          chan *block
	cancel               context.CancelCauseFunc
	stopped              func() error // why the context is done, nil if it is not
	stages               sync.WaitGroup
	cur                  *block // what the caller reads from
	rest                 []byte
	ended                bool
	endErr               error
	fetchErr, decodeErr  error
	compressed, unpacked digest.Digest
	plain                bool // the diff ID is that of the blob's own bytes
	fetched              int64
}

// start runs the stages of s. The stream must be closed.
func (s *stream) start(parent context.Context, pool *blockPool) {
	ctx, cancel := context.WithCancelCause(parent)
	s.cancel = cancel
	s.in, s.outRing = newRing(pool, inBlocks), newRing(pool, outBlocks)
	room := max(inBlocks, outBlocks)
	s.toHash, s.toDecode = make(chan *block, room), make(chan *block, room)
	s.toDiff, s.out = make(chan *block, room), make(chan *block, room)
	s.stopped = func() error { return context.Cause(ctx) }
	s.stages.Go(func() { s.fetchErr = s.fetch(ctx) })
	s.stages.Go(func() { s.compressed = s.hashKept() })
	s.stages.Go(func() { s.decodeErr = s.decode(ctx) })
	if diffID := s.diffID; diffID != "" {
		s.stages.Go(func() { s.unpacked = hashBlocks(s.toDiff, diffID) })
	}
}

// fetch reads the blob to the size its descriptor states.
func (s *stream) fetch(ctx context.Context) error {
	defer close(s.toHash)
	defer close(s.toDecode)
	for s.fetched < s.desc.Size {
		b, err := s.in.get(ctx, 2)
		if err != nil {
			return err
		}
		want := b.room()[:min(blockSize, s.desc.Size-s.fetched)]
		n, err := readFull(s.body, want)
		s.fetched += int64(n)
		b.data, b.fresh = want[:n], n
		if s.resumed != nil {
			b.fresh = int(s.resumed.fresh(s.fetched, int64(n)))
		}
		s.toHash <- b
		s.toDecode <- b
		if n > 0 {
			s.notify(Event{Kind: EventProgress, Object: s.object, Digest: s.desc.Digest, Bytes: s.fetched, Total: s.desc.Size})
		}
		if ended(err) && s.fetched < s.desc.Size {
			return &SizeError{Object: s.object, Want: s.desc.Size, Got: s.fetched}
		}
		if err != nil && !ended(err) {
			return err
		}
	}
	return s.expectEnd()
}

// expectEnd makes sure that the blob is not longer than its descriptor says.
func (s *stream) expectEnd() error {
	var one [1]byte
	n, err := readFull(s.body, one[:])
	switch {
	case n > 0:
		return &SizeError{Object: s.object, Want: s.desc.Size, Got: s.desc.Size + 1}
	case ended(err):
		return nil
	}
	return err
}

// readFull fills p unless r ends or fails before. The error is r's own, io.EOF
// at its end.
func readFull(r io.Reader, p []byte) (int, error) {
	n, empty := 0, 0
	for n < len(p) {
		m, err := r.Read(p[n:])
		n += m
		if err != nil {
			return n, err
		}
		if m > 0 {
			empty = 0
		} else if empty++; empty > 100 {
			return n, io.ErrNoProgress
		}
	}
	return n, nil
}

// hashKept computes the blob's digest and copies what is new of it to keep.
func (s *stream) hashKept() digest.Digest {
	h := newHash(s.desc.Digest)
	for b := range s.toHash {
		_, _ = h.Write(b.data) // a hash.Hash never fails
		if s.keep != nil && b.fresh > 0 {
			if _, err := s.keep.Write(b.data[len(b.data)-b.fresh:]); err != nil {
				s.keep = nil
				s.cancel(err)
			}
		}
		b.release()
	}
	return sum(s.desc.Digest, h)
}

// hashBlocks computes the digest of all blocks, by the algorithm of want.
func hashBlocks(blocks <-chan *block, want digest.Digest) digest.Digest {
	h := newHash(want)
	for b := range blocks {
		_, _ = h.Write(b.data) // a hash.Hash never fails
		b.release()
	}
	return sum(want, h)
}

// verdict is how the stream ended, io.EOF if everything matched. The first of
// these counts: the caller's or a stage's reason to stop; the transfer; the
// digest; the compression, which cannot be right where the digest is not; the
// diff ID.
func (s *stream) verdict() error {
	if err := s.stopped(); err != nil {
		return err
	}
	var err error
	switch {
	case s.fetchErr != nil:
		err = s.fetchErr
	case s.compressed != s.desc.Digest:
		err = &DigestError{Object: s.object, Want: s.desc.Digest, Got: s.compressed}
	case s.decodeErr != nil:
		return s.decodeErr
	case s.diffID != "":
		return s.diffVerdict()
	}
	if mismatch(err) {
		s.notify(Event{Kind: EventMismatch, Object: s.object, Digest: s.desc.Digest, StatedBy: ByManifest, Err: err})
		s.reject()
	}
	if err == nil {
		s.verified()
		return io.EOF
	}
	return err
}

func (s *stream) diffVerdict() error {
	got := s.unpacked
	if s.plain {
		got = s.compressed
	}
	object := s.object + ", uncompressed"
	if got != s.diffID {
		s.verified()
		err := &DigestError{Object: object, Want: s.diffID, Got: got}
		s.notify(Event{Kind: EventMismatch, Object: object, Digest: s.desc.Digest, StatedBy: ByConfig, Err: err})
		return err
	}
	s.verified()
	s.notify(Event{Kind: EventVerified, Object: object, Digest: s.diffID, StatedBy: ByConfig})
	return io.EOF
}

// verified tells that the compressed bytes are those of the descriptor.
func (s *stream) verified() {
	s.notify(Event{Kind: EventVerified, Object: s.object, Digest: s.desc.Digest, StatedBy: ByManifest, Total: s.desc.Size})
}
