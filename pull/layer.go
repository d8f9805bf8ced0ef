package pull

import (
	"bytes"
	"context"
	"io"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Layer is one layer of a resolved image. Its methods may be called from
// several goroutines.
type Layer struct {
	// Descriptor is the layer's entry in the manifest, about the blob as it
	// is stored: its media type, digest and size in bytes.
	Descriptor ocispec.Descriptor
	// DiffIDValue is the digest of the uncompressed tar, from the config.
	DiffIDValue digest.Digest
	// Index counts the layers of the image from 0, the base.
	Index int

	source   *source
	object   string
	distrust atomic.Bool // the local copy turned out to be damaged
}

// OpenOptions changes what [Layer.Open] does besides.
type OpenOptions struct {
	// Keep receives the blob's compressed bytes in order, from a goroutine
	// that has ended when the stream ends. Like the stream, they count only
	// once that has returned io.EOF. An error of Keep ends the stream.
	Keep io.Writer
	// Have holds the beginning of the blob, as an interrupted attempt left it.
	// It is read first, and only what follows is fetched and given to Keep.
	// The digest is that of the whole: if it does not match, what Have holds
	// may be to blame, and the next attempt should do without.
	Have io.Reader
}

// DiffID returns the digest of the uncompressed tar.
func (l *Layer) DiffID() digest.Digest { return l.DiffIDValue }

// String names the layer as errors do: its number from 1, image and digest.
func (l *Layer) String() string { return l.object }

// Open fetches the layer and returns its uncompressed tar. The stream ends in
// io.EOF only after size, digest and diff ID have matched; any other end is an
// error. Callers must read to io.EOF before they trust a byte, and must close
// the stream, which ends its goroutines. Who finds the tar itself malformed
// should read on to the end: if the blob is damaged, that error says so.
//
// Open may be called again, after a failure too. A local copy that turned out
// to be damaged is not used again, and a mirror that lied is not asked again.
//
// The stream also has the method NextChunk() ([]byte, error), which returns
// the next bytes without copying them, valid until the next call.
func (l *Layer) Open(ctx context.Context, o OpenOptions) (io.ReadCloser, error) {
	s, err := l.open(ctx, l.DiffIDValue, o)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Blob returns the layer's compressed bytes. The stream ends in io.EOF only
// after size and digest have matched; else it is like that of [Layer.Open].
func (l *Layer) Blob(ctx context.Context) (io.ReadCloser, error) {
	s, err := l.open(ctx, "", OpenOptions{})
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (l *Layer) open(ctx context.Context, diffID digest.Digest, o OpenOptions) (*stream, error) {
	s := &stream{
		object: l.object, desc: l.Descriptor, diffID: diffID, keep: o.Keep,
		limits: l.source.limits, notify: l.source.client.observe,
		warn:   func(message string) { l.source.warn(l.object, message) },
		reject: func() {},
	}
	if o.Have != nil {
		s.resumed = &resumed{have: o.Have, size: l.Descriptor.Size, open: func(offset int64) (io.ReadCloser, error) {
			return l.source.provider.blob(ctx, l.object, l.Descriptor, offset)
		}}
		s.body = s.resumed
	} else if err := l.openBody(ctx, s); err != nil {
		return nil, err
	}
	s.start(ctx, l.source.pool, l.source.hashers)
	return s, nil
}

// openBody opens the blob for s: from the descriptor itself, from the local
// blobs, or from the source. It also says what becomes of a copy that is wrong.
func (l *Layer) openBody(ctx context.Context, s *stream) error {
	d := l.Descriptor
	if len(d.Data) > 0 && checkBytes(l.object, d.Data, d.Digest, d.Size) == nil {
		s.body = io.NopCloser(bytes.NewReader(d.Data))
		return nil
	}
	if !l.distrust.Load() {
		if body := l.source.local(ctx, l.object, d); body != nil {
			s.body = body
			s.object += ", the local copy"
			s.reject = func() {
				l.distrust.Store(true)
				l.source.warn(l.object, "the local copy is damaged and will be fetched anew")
			}
			return nil
		}
	}
	body, err := l.source.provider.blob(ctx, l.object, d, 0)
	s.body = body
	s.reject = func() { _ = rejectSource(body) }
	return err
}
