package pull

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

var errClosed = errors.New("read layer: the stream is closed")

// A stream delivers one blob, decompressed or as it is. Its stages run at the
// same time, each in a goroutine, and hand blocks to one another:
//
//	fetch ─┬─► hash (digest)
//	       ├─► keep
//	       └─► decode ─┬─► hash (diff ID)
//	                   └─► Read, NextChunk
//
// Hashing is done by workers that all streams of the image share. Every channel
// has room for all blocks of its ring, so that sending never blocks; a stage
// waits only for content or for a free block, and stops when the context is
// done. That is why cancelling ends all of them.
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
	toKeep, toDecode     chan *block
	out                  chan *block
	digest, diff         *hashing // diff is nil without a diff ID
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
	stats                Stats // each field is one stage's, until all have ended
}

// start runs the stages of s. The stream must be closed.
func (s *stream) start(parent context.Context, pool *blockPool, h *hashers) {
	ctx, cancel := context.WithCancelCause(parent)
	s.cancel = cancel
	s.in, s.outRing = newRing(pool, inBlocks), newRing(pool, outBlocks)
	room := max(inBlocks, outBlocks)
	s.toDecode, s.out = make(chan *block, room), make(chan *block, room)
	s.stopped = func() error { return context.Cause(ctx) }
	s.digest = h.begin(s.desc.Digest)
	s.stages.Go(func() { s.compressed = s.digest.sum() })
	if s.diffID != "" {
		s.diff = h.begin(s.diffID)
		s.stages.Go(func() { s.unpacked = s.diff.sum() })
	}
	if s.keep != nil {
		s.toKeep = make(chan *block, room)
		s.stages.Go(s.keepFresh)
	}
	s.stages.Go(func() { s.fetchErr = s.fetch(ctx) })
	s.stages.Go(func() { s.decodeErr = s.decode(ctx) })
}

// fetch reads the blob to the size its descriptor states.
func (s *stream) fetch(ctx context.Context) error {
	defer s.digest.end()
	defer close(s.toDecode)
	consumers := int32(2)
	if s.toKeep != nil {
		defer close(s.toKeep)
		consumers++
	}
	for s.fetched < s.desc.Size {
		b, err := s.in.get(ctx, consumers)
		if err != nil {
			return err
		}
		want := b.room()[:min(blockSize, s.desc.Size-s.fetched)]
		began := time.Now()
		n, err := readFull(s.body, want)
		s.stats.Network += time.Since(began)
		s.fetched += int64(n)
		b.data, b.fresh = want[:n], n
		if s.resumed != nil {
			b.fresh = int(s.resumed.fresh(s.fetched, int64(n)))
		}
		s.toDecode <- b
		if s.toKeep != nil {
			s.toKeep <- b
		}
		s.digest.add(b)
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

// keepFresh copies what is new of the blob to keep.
func (s *stream) keepFresh() {
	failed := false
	for b := range s.toKeep {
		if b.fresh > 0 && !failed {
			if _, err := s.keep.Write(b.data[len(b.data)-b.fresh:]); err != nil {
				failed = true
				s.cancel(err)
			}
		}
		b.release()
	}
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
		s.tell()
		return io.EOF
	}
	return err
}

// tell reports what the stream took.
func (s *stream) tell() {
	s.stats.Bytes = s.fetched
	s.stats.Hash = s.digest.spent
	if s.diff != nil {
		s.stats.Hash += s.diff.spent
	}
	s.notify(Event{Kind: EventDone, Object: s.object, Digest: s.desc.Digest, Stats: s.stats})
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
	s.tell()
	return io.EOF
}

// verified tells that the compressed bytes are those of the descriptor.
func (s *stream) verified() {
	s.notify(Event{Kind: EventVerified, Object: s.object, Digest: s.desc.Digest, StatedBy: ByManifest, Total: s.desc.Size})
}
