package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// source is where the content of one image comes from: the client's local
// blobs first, then the provider of the reference's transport.
type source struct {
	client   *Client
	provider provider
	name     string // of the image, for messages
	limits   Limits
	pool     *blockPool
	hashers  *hashers
}

// newSource chooses the provider for ref's transport. It lives until the
// client is closed.
func (c *Client) newSource(ctx context.Context, ref Reference) (*source, error) {
	var p provider
	var err error
	switch ref.Transport {
	case Registry:
		p, err = newRegistry(c, ref)
	case OCI:
		p, err = openLayout(c, ref)
	case OCIArchive, DockerArchive:
		p, err = openArchive(ctx, c, ref)
	default:
		err = &UnsupportedError{Object: ref.String(), What: "its transport is not known here"}
	}
	if err != nil {
		return nil, err
	}
	c.onClose(p.close)
	return &source{
		client:   c,
		provider: p,
		name:     ref.String(),
		limits:   c.Limits.withDefaults(),
		pool:     newBlockPool(),
		hashers:  newHashers(),
	}, nil
}

// maxSources bounds how many mirrors may lie about one object in a row.
const maxSources = 16

// manifest returns the verified bytes of a manifest or index, and what their
// source calls them. A negative desc.Size is not known.
func (s *source) manifest(ctx context.Context, object string, desc ocispec.Descriptor) ([]byte, string, error) {
	if err := s.checkMetadataSize(object, desc); err != nil {
		return nil, "", err
	}
	if raw := s.atHand(ctx, object, desc); raw != nil {
		return raw, "", nil
	}
	for tries := 1; ; tries++ {
		d, err := s.provider.manifest(ctx, desc.Digest.String())
		if err != nil {
			return nil, "", err
		}
		err = checkBytes(object, d.raw, desc.Digest, desc.Size)
		if err == nil {
			return d.raw, d.mediaType, nil
		}
		s.differs(object, desc, err)
		if d.reject == nil || tries == maxSources || !d.reject() {
			return nil, "", err
		}
		s.askAgain(object, err)
	}
}

// document returns the verified bytes of a small blob, such as a config.
func (s *source) document(ctx context.Context, object string, desc ocispec.Descriptor) ([]byte, error) {
	if err := s.checkMetadataSize(object, desc); err != nil {
		return nil, err
	}
	if raw := s.atHand(ctx, object, desc); raw != nil {
		return raw, nil
	}
	for tries := 1; ; tries++ {
		raw, rejected, err := s.fetchDocument(ctx, object, desc)
		if err == nil || !rejected || tries == maxSources {
			return raw, err
		}
		s.askAgain(object, err)
	}
}

// fetchDocument gets desc from the provider. rejected says that it was wrong
// and that there is another source to ask.
func (s *source) fetchDocument(ctx context.Context, object string, desc ocispec.Descriptor) (raw []byte, rejected bool, err error) {
	body, err := s.provider.blob(ctx, object, desc, 0)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = body.Close() }()
	raw, err = readDocument(object, body, desc)
	if err != nil {
		s.differs(object, desc, err)
		return nil, mismatch(err) && rejectSource(body), err
	}
	return raw, false, nil
}

// readDocument reads and verifies a small blob.
func readDocument(object string, r io.Reader, desc ocispec.Descriptor) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, desc.Size+1))
	if err != nil {
		return nil, err
	}
	return raw, checkBytes(object, raw, desc.Digest, desc.Size)
}

// atHand looks for a document inside its descriptor (image-spec, "descriptor",
// data) and among the local blobs. Nil means that it has to be fetched.
func (s *source) atHand(ctx context.Context, object string, desc ocispec.Descriptor) []byte {
	if len(desc.Data) > 0 && checkBytes(object, desc.Data, desc.Digest, desc.Size) == nil {
		return desc.Data
	}
	if desc.Size < 0 {
		return nil
	}
	body := s.local(ctx, object, desc)
	if body == nil {
		return nil
	}
	defer func() { _ = body.Close() }()
	raw, err := readDocument(object+", the local copy", body, desc)
	switch {
	case mismatch(err):
		s.differs(object, desc, err)
		s.askAgain(object, err)
		return nil
	case err != nil:
		s.warn(object, fmt.Sprintf("the local copy is not used: %v", err))
		return nil
	}
	return raw
}

// local opens the local copy of a blob; nil if there is none that opens.
func (s *source) local(ctx context.Context, object string, desc ocispec.Descriptor) io.ReadCloser {
	if s.client.Local == nil {
		return nil
	}
	body, err := s.client.Local.Blob(ctx, desc)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) && ctx.Err() == nil {
			s.warn(object, fmt.Sprintf("the local copy is not used: %v", err))
		}
		return nil
	}
	return body
}

func (s *source) checkMetadataSize(object string, desc ocispec.Descriptor) error {
	if desc.Size > s.limits.Metadata {
		return &LimitError{Object: object, Limit: "Metadata", Max: s.limits.Metadata, Got: desc.Size}
	}
	return nil
}

// warnAbout tells the observer about object, in a message that stands alone.
func (c *Client) warnAbout(object, message string) {
	c.observe(Event{Kind: EventWarning, Object: object, Message: oneLine(object + ": " + message)})
}

func (s *source) warn(object, message string) {
	s.client.warnAbout(object, message)
}

// askAgain tells that err, which names the object, is about one copy of it, and
// that another one is fetched: a mirror's, the origin's, or the origin's a
// second time.
func (s *source) askAgain(object string, err error) {
	s.client.observe(Event{Kind: EventWarning, Object: object, Err: err, Message: oneLine(err.Error() + "; fetching it anew")})
}

// differs tells that one copy of a document is not what it should be.
func (s *source) differs(object string, desc ocispec.Descriptor, err error) {
	if mismatch(err) {
		s.client.observe(Event{Kind: EventMismatch, Object: object, Digest: desc.Digest, Err: err})
	}
}

// mismatch says whether err is about content that is not what it has to be.
func mismatch(err error) bool {
	var d *DigestError
	var z *SizeError
	return errors.As(err, &d) || errors.As(err, &z)
}

// rejectSource tells a blob's source that it delivered wrong bytes, and
// returns whether asking again is worth while.
func rejectSource(body io.Reader) bool {
	r, ok := body.(rejecter)
	return ok && r.reject()
}
