// Package tarstream reads tar archives: v7, ustar, PAX, star and GNU, with
// sparse files in all their forms. It copies no content and keeps every byte
// that is not content accessible, so that an archive can be rebuilt.
//
// What is accepted and how it is understood is what Go's archive/tar, and so
// Docker, containerd and umoci, accept and understand, so that an image
// means here what it means there; sparse files of type 'S', which those
// tools refuse, are accepted too. Global PAX headers are checked and have, as
// there, no effect.
package tarstream

import (
	"errors"
	"io"
)

// Options configure a Reader.
type Options struct {
	// HeaderSize bounds, in bytes, one PAX header, one GNU long name and one
	// sparse map; 0 means 1 MiB.
	HeaderSize int64
	// Meta, when not nil, receives in order all bytes of the stream that Data
	// does not return: headers, padding, the trailer, content not asked for.
	// The slice is valid during the call.
	Meta func(p []byte) error
}

// Reader reads an archive entry by entry.
type Reader struct {
	src  source
	o    Options
	hdr  Header
	pax  pax
	ext  []byte // content of the last extended header
	left int64  // content of the current entry not read yet
	pad  int64  // padding after it

	longName, longLink string
	ambiguous          bool
	err                error
}

// NewReader returns a Reader of the archive r. If r is a Chunker, its
// buffers are used directly.
func NewReader(r io.Reader, o Options) *Reader {
	if o.HeaderSize == 0 {
		o.HeaderSize = 1 << 20
	}
	return &Reader{src: newSource(r), o: o}
}

// Offset returns how many bytes of the stream have been consumed.
func (r *Reader) Offset() int64 { return r.src.off }

// Next skips what is left of the current entry and returns the next one, valid
// until the following call. At the end of the archive, which is two blocks of
// zeros or the end of the stream, it returns io.EOF; Drain reads what follows.
// Errors are *FormatError, *LimitError or those of the stream.
func (r *Reader) Next() (*Header, error) {
	if r.err != nil {
		return nil, r.err
	}
	h, err := r.next()
	if err != nil {
		r.err = err
	}
	return h, err
}

func (r *Reader) next() (*Header, error) {
	r.pax.reset()
	r.longName, r.longLink = "", ""
	for {
		if err := r.skip(); err != nil {
			return nil, err
		}
		block, err := r.headerBlock()
		if err != nil {
			return nil, err
		}
		at := r.src.off - blockSize
		bad := r.hdr.parseBlock(block)
		if bad != "" {
			return nil, &FormatError{at, "bad number in field " + bad}
		}
		switch r.hdr.Type {
		case typePax, typePaxGlobal, typeLongName, typeLongLink:
			if err := r.extended(); err != nil {
				return nil, err
			}
			continue
		}
		if r.hdr.hasData() && r.hdr.Size < 0 { // though a PAX record may say better
			return nil, &FormatError{at, "negative size"}
		}
		return r.entry(block, at)
	}
}

// entry completes the header of an entry from what came before it.
func (r *Reader) entry(block []byte, at int64) (*Header, error) {
	h := &r.hdr
	r.doubt(r.contested(block))
	if bad := r.pax.merge(h); bad != "" {
		return nil, &FormatError{at, bad}
	}
	if r.longName != "" {
		h.Name = r.longName
	}
	if r.longLink != "" {
		h.Linkname = r.longLink
	}
	oldSparse := h.Type == typeSparse
	switch h.Type {
	case typeRegV7:
		h.Type = TypeReg
		if n := len(h.Name); n > 0 && h.Name[n-1] == '/' {
			h.Type = TypeDir
		}
	case typeCont, typeSparse:
		h.Type = TypeReg
	}
	if h.hasData() {
		if h.Size < 0 {
			return nil, &FormatError{at, "negative size"}
		}
		r.setContent(h.Size)
	}
	if !oldSparse {
		block = nil
	}
	if err := r.readSparse(block); err != nil {
		return nil, err
	}
	r.doubt(r.contestedSparse())
	return h, nil
}

func (r *Reader) setContent(size int64) {
	r.left = size
	r.pad = -size & (blockSize - 1)
}

// extended reads an entry that describes the next one.
func (r *Reader) extended() error {
	size := r.hdr.Size
	if size < 0 {
		return r.malformed("negative size")
	}
	if size > r.o.HeaderSize {
		return r.tooLong(size)
	}
	at := r.src.off
	r.setContent(size)
	r.ext = r.ext[:0]
	for {
		p, err := r.Data()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := r.meta(p); err != nil {
			return err
		}
		r.ext = append(r.ext, p...)
	}
	bad := ""
	switch r.hdr.Type {
	case typePax:
		r.doubt(r.pax.set)
		bad = r.pax.parse(r.ext)
	case typePaxGlobal:
		// Of no effect, but as for archive/tar it takes the place of what
		// was said about the next entry.
		before := r.pax.set || r.longName != "" || r.longLink != ""
		bad = r.pax.parse(r.ext)
		r.doubt(before || r.pax.matters())
		r.pax.reset()
		r.longName, r.longLink = "", ""
	case typeLongName:
		r.doubt(r.longName != "")
		r.longName = cString(r.ext)
		r.doubt(r.longName == "")
	case typeLongLink:
		r.doubt(r.longLink != "")
		r.longLink = cString(r.ext)
		r.doubt(r.longLink == "")
	}
	if bad != "" {
		return &FormatError{at, bad}
	}
	return nil
}

// headerBlock returns the next header, or io.EOF at the end of the archive.
func (r *Reader) headerBlock() ([]byte, error) {
	block, err := r.readBlock()
	if err != nil {
		return nil, err // io.EOF: an archive without trailer
	}
	if isZero(block) {
		block, err = r.readBlock()
		if err != nil {
			return nil, err
		}
		if isZero(block) {
			return nil, io.EOF
		}
		return nil, &FormatError{r.src.off - 2*blockSize, "block of zeros between entries"}
	}
	if !checksumOK(block) {
		return nil, &FormatError{r.src.off - blockSize, "header checksum does not match"}
	}
	return block, nil
}

// metaBlock returns a block that must be there.
func (r *Reader) metaBlock() ([]byte, error) {
	block, err := r.readBlock()
	if errors.Is(err, io.EOF) {
		return nil, r.cutOff()
	}
	return block, err
}

func (r *Reader) readBlock() ([]byte, error) {
	block, err := r.src.next()
	if len(block) > 0 {
		if err := r.meta(block); err != nil {
			return nil, err
		}
	}
	if errors.Is(err, io.ErrUnexpectedEOF) && len(block) > 0 {
		return nil, r.cutOff()
	}
	return block, err
}

// Data returns the next piece of the entry's content, valid until the next
// call of any method, and io.EOF after the last. For a sparse file it is the
// segments, one after the other without the holes.
func (r *Reader) Data() ([]byte, error) {
	if r.left == 0 {
		return nil, io.EOF
	}
	p, err := r.src.take(r.left)
	if errors.Is(err, io.EOF) {
		err = r.cutOff()
	}
	if err != nil {
		r.err = err
		return nil, err
	}
	r.left -= int64(len(p))
	return p, nil
}

// skip reads what is left of the current entry. An archive may end without
// the padding of its last entry; that is io.EOF.
func (r *Reader) skip() error {
	for n := r.left + r.pad; n > 0; n = r.left + r.pad {
		p, err := r.src.take(n)
		if errors.Is(err, io.EOF) && r.left > 0 {
			return r.cutOff()
		}
		if err != nil {
			return err
		}
		if err := r.meta(p); err != nil {
			return err
		}
		content := min(r.left, int64(len(p)))
		r.left -= content
		r.pad -= int64(len(p)) - content
	}
	return nil
}

// Drain reads the stream to its end, whatever is there, and returns nil at
// io.EOF and the stream's error otherwise.
func (r *Reader) Drain() error {
	for {
		p, err := r.src.take(1 << 62)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := r.meta(p); err != nil {
			return err
		}
	}
}

func (r *Reader) meta(p []byte) error {
	if r.o.Meta == nil {
		return nil
	}
	return r.o.Meta(p)
}

func (r *Reader) malformed(reason string) error {
	return &FormatError{r.src.off, reason}
}

func (r *Reader) cutOff() error { return r.malformed("archive is cut off") }

func (r *Reader) tooLong(got int64) error {
	return &LimitError{Limit: LimitHeaderSize, Max: r.o.HeaderSize, Got: got}
}

// LimitHeaderSize names the limit that Options.HeaderSize sets.
const LimitHeaderSize = "header-size"

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// Left returns how many bytes of the entry's content have not been read yet.
// Right after Next that is what a sparse file's segments hold, or the size.
func (r *Reader) Left() int64 { return r.left }
