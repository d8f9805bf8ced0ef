package pull

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"
)

// newHash returns the hash of d's algorithm; d has passed validDigest.
// crypto/sha256 uses the processor's SHA instructions where there are some.
func newHash(d digest.Digest) hash.Hash {
	if d.Algorithm() == digest.SHA512 {
		return sha512.New()
	}
	return sha256.New()
}

// sum returns h's state as a digest of the same algorithm as want.
func sum(want digest.Digest, h hash.Hash) digest.Digest {
	return digest.NewDigest(want.Algorithm(), h)
}

// checkBytes compares raw with the digest and, if size is not negative, with
// the size that a verified parent stated.
func checkBytes(object string, raw []byte, want digest.Digest, size int64) error {
	if size >= 0 && int64(len(raw)) != size {
		return &SizeError{Object: object, Want: size, Got: int64(len(raw))}
	}
	h := newHash(want)
	_, _ = h.Write(raw) // a hash.Hash never fails
	if got := sum(want, h); got != want {
		return &DigestError{Object: object, Want: want, Got: got}
	}
	return nil
}

// readBounded reads r to its end. Content longer than limit is an error, not
// a shortened result.
func readBounded(object, limitName string, r io.Reader, limit int64) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(raw)) > limit {
		return nil, &LimitError{Object: object, Limit: limitName, Max: limit, Got: int64(len(raw))}
	}
	return raw, nil
}

// decodeJSON reads a JSON document into v.
func decodeJSON(object string, raw []byte, v any) error {
	if err := json.Unmarshal(raw, v); err != nil {
		return &FormatError{Object: object, Reason: fmt.Sprintf("malformed JSON: %v", err)}
	}
	return nil
}
