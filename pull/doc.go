// Package pull takes the name of an image and gives its content, verified: the
// manifest, the config, and the layers as streams. It reads registries, OCI
// image layouts, and the archives that docker save and its relatives write, and
// it depends on no daemon and no store.
//
//	ref, err := pull.ParseReference("alpine:3.20")
//	…
//	client := &pull.Client{}
//	defer client.Close()
//	img, err := client.Resolve(ctx, ref, pull.Platform{})
//	…
//	for _, layer := range img.Layers {
//		stream, err := layer.Open(ctx, pull.OpenOptions{})
//		… // read the uncompressed tar up to io.EOF
//		err = stream.Close()
//	}
//
// # What is verified
//
// Every digest that is checked comes from the reference or from a document that
// was itself checked before; a header of the answer that delivers the content
// counts for nothing. From the top: the reference's digest, if it has one, is
// that of the index or manifest; an index gives digest and size of the
// manifest; the manifest gives digest and size of the config and of each
// layer's blob; the config gives the diff ID, the digest of each layer's
// uncompressed tar. A manifest that can also be read as an index, or whose
// media type is not that under which it was announced, is refused
// (CVE-2021-41190). The algorithms are sha256 and sha512.
//
// A layer's stream ends in io.EOF only after size, digest and diff ID have
// matched. What was read before that is not yet proven: unpack it where nobody
// takes it for whole, and show it only after the end.
//
// # Failures
//
// Errors are structs, to be found with errors.As, and state what was expected
// and what was found: [DigestError], [SizeError], [FormatError] and
// [LimitError] for content, [NotFoundError] and [PlatformError] for what is not
// there, [UnsupportedError] for what is no Linux container image, [StatusError],
// [AuthError] and [UnreachableError] for registries. When a blob neither
// decompresses nor has its digest, the digest is what is reported: the blob is
// damaged, and getting it once more may help. [Layer.Open] may be called
// again for that, and then leaves out the local copy or the mirror that was
// wrong.
//
// # Memory
//
// A layer that is open takes about 4 MiB, whatever its size: fetching, hashing,
// decompressing and hashing again run at the same time and pass a fixed number
// of buffers around. A zstd frame adds the window it asks for. Blobs of a
// registry that are fetched over several connections add what these are ahead,
// at most Limits.RangeMemory for all blobs of a client together. Metadata is read
// as a whole and bounded. All bounds are in [Limits].
package pull
