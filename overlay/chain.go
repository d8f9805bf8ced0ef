package overlay

import (
	_ "crypto/sha256" // digests of images are of these
	_ "crypto/sha512" // two (image-spec, descriptor.md, "Registered algorithms")
	"encoding/base32"
	"encoding/hex"
	"strings"

	"github.com/opencontainers/go-digest"
)

// DiffID is the digest of one layer's uncompressed tar (image-spec, config.md,
// "Layer DiffID"). It says what one layer adds, whatever lies below it.
type DiffID string

// ChainID is the digest of a stack of layers (image-spec, config.md, "Layer
// ChainID"). It names a layer together with everything below it, and so the
// lower dir of the store.
type ChainID string

// ChainIDs returns the chain ID of each layer of a stack, base first. The
// first is the first diff ID itself; each further one is the SHA-256 of the
// chain ID below, a space, and the layer's diff ID.
func ChainIDs(diffIDs []digest.Digest) []ChainID {
	chains := make([]ChainID, len(diffIDs))
	for i, d := range diffIDs {
		if i == 0 {
			chains[i] = ChainID(d)
			continue
		}
		chains[i] = ChainID(digest.SHA256.FromString(string(chains[i-1]) + " " + d.String()))
	}
	return chains
}

// Digest returns the chain ID as a plain digest.
func (c ChainID) Digest() digest.Digest { return digest.Digest(c) }

// String returns the chain ID in its full form, algorithm first.
func (c ChainID) String() string { return string(c) }

// Digest returns the diff ID as a plain digest.
func (d DiffID) Digest() digest.Digest { return digest.Digest(d) }

// String returns the diff ID in its full form, algorithm first.
func (d DiffID) String() string { return string(d) }

// name is the chain ID as the name of a directory: the bare hex of a SHA-256
// digest, ALGORITHM-HEX for any other. The chain ID must be a valid digest.
func (c ChainID) name() string {
	d := c.Digest()
	if d.Algorithm() == digest.SHA256 {
		return d.Encoded()
	}
	return d.Algorithm().String() + "-" + d.Encoded()
}

// chainOfName is the reverse of name; ok is false for a name that no chain ID
// has.
func chainOfName(name string) (c ChainID, ok bool) {
	alg, enc, found := strings.Cut(name, "-")
	if !found {
		alg, enc = digest.SHA256.String(), name
	}
	d := digest.NewDigestFromEncoded(digest.Algorithm(alg), enc)
	if d.Validate() != nil || ChainID(d).name() != name {
		return "", false
	}
	return ChainID(d), true
}

// shortBytes is how much of a chain ID its short name keeps: 128 bits, which
// base32 writes as the 26 characters that Docker's overlay2 short names have.
const shortBytes = 16

// short is the name under l/ that stands for the layer in mount options.
func (c ChainID) short() string {
	raw, err := hex.DecodeString(c.Digest().Encoded()[:2*shortBytes])
	if err != nil {
		return ""
	}
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw)
}
