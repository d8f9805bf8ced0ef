package pull

import (
	"context"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// provider is one place that content comes from: a repository of a registry,
// an image layout, an archive. It delivers bytes and promises nothing about
// them; whoever calls it checks sizes and digests. All methods may be called
// from several goroutines.
type provider interface {
	// manifest returns the manifest or index that ref, a tag or a digest,
	// names. Its body is limited by Limits.Metadata.
	manifest(ctx context.Context, ref string) (rawDocument, error)

	// blob returns the bytes of desc from offset on. object is what errors and
	// events call it, as in "layer 2 of NAME (DIGEST)". An implementation that
	// retries does so inside Read: the caller sees one stream without gaps
	// and repeats. A stream that ends in io.EOF has delivered exactly
	// desc.Size-offset bytes; one that ends otherwise has not.
	//
	// The reader may implement rejecter.
	blob(ctx context.Context, object string, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error)

	// tags lists the tags of the repository.
	tags(ctx context.Context) ([]string, error)

	// close releases what the provider holds. Readers must be closed before.
	close() error
}

// rawDocument is a manifest or index as it came, not yet verified.
type rawDocument struct {
	mediaType string // what the source calls it; "" where it does not say
	digest    string // what the source claims its digest to be; for display only
	raw       []byte

	// reject says that this copy was not what it had to be. The result tells
	// whether asking again for the same digest is worth while. Nil means no.
	reject func() bool
}

// A rejecter is a blob reader whose source can be blamed. After reject, the
// next call of blob for the same digest goes to the next source (the origin
// instead of a mirror that lied, or the origin a second time, since the
// damage may have happened on the way). It reports false when that was the
// last chance.
type rejecter interface {
	reject() bool
}
