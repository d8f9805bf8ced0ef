package pull

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"
)

// A decoder turns one compressed blob into the blocks of its content. It
// returns nil at the end of the content, even if compressed bytes are left.
type decoder interface {
	decode(ctx context.Context, in *input, out *output) error
}

// compression is how a blob is packed.
type compression int

const (
	plain compression = iota
	gzipped
	zstandard
	bzipped
	xzipped
)

func (c compression) String() string {
	switch c {
	case gzipped:
		return "gzip"
	case zstandard:
		return "zstd"
	case bzipped:
		return "bzip2"
	case xzipped:
		return "xz"
	}
	return "plain"
}

// sniff tells the compression by the first bytes, as Docker does: media types
// are often wrong about it. What is not known is plain; the diff ID judges.
func sniff(head []byte) compression {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b, 0x08}): // RFC 1952, 2.3.1
		return gzipped
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}): // RFC 8878, 3.1.1
		return zstandard
	case len(head) >= 4 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte{0x2a, 0x4d, 0x18}):
		return zstandard // a skippable frame comes first (RFC 8878, 3.1.2)
	case len(head) >= 4 && bytes.HasPrefix(head, []byte("BZh")) && head[3] >= '1' && head[3] <= '9':
		return bzipped
	case bytes.HasPrefix(head, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		return xzipped
	}
	return plain
}

// decode is the stage that decompresses. If that fails it still takes the
// rest of the blob, since its digest is what says whether the blob is damaged
// or was made wrong.
func (s *stream) decode(ctx context.Context) error {
	defer close(s.out)
	if s.diff != nil {
		defer s.diff.end()
	}
	in := &input{blocks: s.toDecode}
	defer in.drain()
	kind := plain
	// A blob with the digest of its content is that content.
	if s.diffID != "" && s.diffID != s.desc.Digest {
		kind = sniff(in.peek())
	}
	out := &output{ring: s.outRing, in: in, to: s.out, diff: s.diff, object: s.object, limits: s.limits}
	if kind == plain {
		s.forward(in)
		return nil
	}
	began := time.Now()
	err := s.decoder(kind).decode(ctx, in, out)
	s.stats.Decompress = time.Since(began) - in.waited - s.outRing.waited
	s.stats.TarBytes = out.total
	if err == nil || ctx.Err() != nil {
		return err
	}
	err = decompressError(kind, s.object, err)
	var limit *LimitError
	if errors.As(err, &limit) {
		s.cancel(err) // there is no use in the rest of it
	}
	return err
}

// decoder returns the decoder for a compression.
func (s *stream) decoder(kind compression) decoder {
	trailing := func() { s.warn(trailingMessage) }
	if kind == gzipped {
		return gzipDecoder{trailing: trailing}
	}
	return readerDecoder{kind: kind, trailing: trailing}
}

// forward hands the blob on as it is. Its bytes have been hashed once already;
// that serves for the diff ID as well if the algorithm is the same.
func (s *stream) forward(in *input) {
	s.plain = s.diffID == "" || s.diffID.Algorithm() == s.desc.Digest.Algorithm()
	for {
		b := in.take()
		if b == nil {
			return
		}
		if !s.plain {
			b.refs.Add(1)
			s.diff.add(b)
		}
		s.out <- b
	}
}

// input is the compressed bytes, block by block. It implements io.Reader.
type input struct {
	blocks   <-chan *block
	next     *block // taken from blocks by peek
	cur      *block // under rest
	rest     []byte
	consumed int64 // bytes handed to the decoder
	waited   time.Duration
	aside    *aside // told before the decoder waits
}

// peek returns the beginning of the blob before anything was read.
func (in *input) peek() []byte {
	if in.next == nil {
		in.next = <-in.blocks
	}
	if in.next == nil {
		return nil
	}
	return in.next.data
}

// take returns the next block, which is then the caller's to release; nil at
// the end.
func (in *input) take() *block {
	if b := in.next; b != nil {
		in.next = nil
		return b
	}
	select {
	case b := <-in.blocks:
		return b
	default:
	}
	in.aside.pause()
	defer in.aside.resume()
	began := time.Now()
	defer func() { in.waited += time.Since(began) }()
	return <-in.blocks
}

// fill makes rest hold what comes next; empty means the end.
func (in *input) fill() {
	for len(in.rest) == 0 {
		if in.cur != nil {
			in.cur.release()
		}
		if in.cur = in.take(); in.cur == nil {
			return
		}
		in.rest = in.cur.data
	}
}

// Read implements io.Reader.
func (in *input) Read(p []byte) (int, error) {
	if in.fill(); len(in.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, in.rest)
	in.rest = in.rest[n:]
	in.consumed += int64(n)
	return n, nil
}

// Next implements inflate.Source.
func (in *input) Next() []byte {
	in.fill()
	chunk := in.rest
	in.rest = nil
	in.consumed += int64(len(chunk))
	return chunk
}

// drain lets go of the block in use and of all that are to come.
func (in *input) drain() {
	if in.cur != nil {
		in.cur.release()
		in.cur, in.rest = nil, nil
	}
	for b := in.take(); b != nil; b = in.take() {
		b.release()
	}
}

// output takes the uncompressed blocks.
type output struct {
	ring   *ring
	in     *input
	to     chan<- *block
	diff   *hashing
	object string
	limits Limits
	total  int64
}

// block returns an empty block to fill and emit.
func (o *output) block(ctx context.Context) (*block, error) { return o.ring.get(ctx, 2) }

// emit hands b on with the content data, which lies in b.
func (o *output) emit(b *block, data []byte) error {
	b.data = data
	o.total += int64(len(data))
	if len(data) == 0 {
		b.release()
		b.release()
		return nil
	}
	o.to <- b
	o.diff.add(b)
	return checkRatio(o.object, o.limits, o.total, o.in.consumed)
}

// checkRatio refuses a decompression bomb: out bytes made of in bytes.
func checkRatio(object string, limits Limits, out, in int64) error {
	if got := out / max(in, 1); out > limits.RatioFloor && got >= limits.Ratio {
		return &LimitError{Object: object, Limit: "Ratio", Max: limits.Ratio, Got: got}
	}
	return nil
}

// readFrom emits all of r, in full blocks but for the last.
func (o *output) readFrom(ctx context.Context, r io.Reader) error {
	for {
		b, err := o.block(ctx)
		if err != nil {
			return err
		}
		n, err := readFull(r, b.room())
		if limit := o.emit(b, b.room()[:n]); limit != nil {
			return limit
		}
		if ended(err) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
