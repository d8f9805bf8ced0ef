package pull

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// enoughProgress is how many bytes must arrive for a transfer that was cut
	// to get all of its attempts back. Fewer would let a host that sends a
	// byte at a time keep a pull busy for ever.
	enoughProgress = 256 << 10

	// endWait is how long the end of an answer without a length may take to
	// show once all the bytes are there.
	endWait = 2 * time.Second
)

// blobReader is a blob as one stream, over as many answers as it takes. One
// connection delivers it, with all the patience of the policy. While ranges is
// not nil, others deliver what follows end, and this one fills their gaps.
type blobReader struct {
	registry *registry
	job      *job
	size     int64
	// reopen, recover and fork are bound to the context that the blob was
	// opened with, since Read has none.
	reopen  func() error
	recover func(error) error
	fork    func()

	body     io.ReadCloser      // nil: reopen first
	length   int64              // bytes that body has left by its headers; -1: unknown
	reach    int64              // where body ends
	endpoint *endpoint          // where body comes from
	sources  map[*endpoint]bool // where the bytes so far came from
	pos      int64              // next byte to deliver
	end      int64              // where the connection's own part ends: size without ranges
	marked   int64              // pos when the attempts were last counted anew
	noRange  map[*endpoint]bool
	meter    meter
	ranges   *ranges
	err      error // final
}

var (
	_ io.ReadCloser = (*blobReader)(nil)
	_ rejecter      = (*blobReader)(nil)
)

// openBlob opens the blob of j at offset. It fails at once if no endpoint has
// it.
func (r *registry) openBlob(ctx context.Context, j *job, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	if desc.Size < 0 || offset < 0 || offset > desc.Size {
		return nil, &FormatError{Object: j.object, Reason: "its size is negative or less than the offset"}
	}
	b := &blobReader{
		registry: r, job: j, size: desc.Size, pos: offset, end: desc.Size, marked: offset,
		noRange: map[*endpoint]bool{}, sources: map[*endpoint]bool{},
	}
	b.reopen = func() error { return b.connect(ctx) }
	b.recover = func(err error) error { return r.recover(ctx, j, b.endpoint, err) }
	if b.size-b.pos > r.limits.RangeFloor && r.limits.RangeConnections > 1 && !r.suspect(j.key) {
		b.meter.rule = r.split
		b.meter.chances = maxForks
		b.fork = func() { b.ranges = forkRanges(ctx, b) }
	}
	if b.pos == b.size {
		b.endpoint = r.next(j)
		return b, nil
	}
	return b, b.advance()
}

// Read implements io.Reader. It returns io.EOF after exactly size bytes.
func (b *blobReader) Read(p []byte) (int, error) {
	for b.err == nil && b.pos < b.size && len(p) > 0 {
		var n int
		if b.pos < b.end {
			n, b.err = b.readOwn(p)
		} else {
			n, b.err = b.readRanges(p)
		}
		if n > 0 {
			return n, nil
		}
	}
	if b.err == nil && len(p) > 0 {
		b.err = io.EOF
	}
	return 0, b.err
}

// readOwn reads from the one connection.
func (b *blobReader) readOwn(p []byte) (int, error) {
	if b.body == nil {
		if err := b.advance(); err != nil {
			return 0, err
		}
	}
	b.meter.begin()
	n, err := b.body.Read(p[:min(int64(len(p)), b.end-b.pos)])
	b.meter.finish(n)
	b.deliver(n, b.endpoint)
	switch {
	case b.pos == b.size:
		return n, b.finish(err)
	case b.pos == b.end && b.reach > b.end && err == nil:
		return n, nil // it may still be needed if the others fail
	case b.pos == b.end:
		b.drop()
		return n, nil
	case err != nil:
		return n, b.interrupted(err)
	}
	switch {
	case b.ranges != nil && b.ranges.refused.Load():
		b.join()
	case b.ranges == nil && b.fork != nil && b.meter.worthSplitting(b.size-b.pos):
		b.fork()
	}
	return n, nil
}

// deliver counts n bytes of e.
func (b *blobReader) deliver(n int, e *endpoint) {
	if n == 0 {
		return
	}
	b.pos += int64(n)
	b.sources[e] = true
	if b.pos-b.marked >= enoughProgress {
		b.marked, b.job.patience.attempts = b.pos, 0
	}
}

// interrupted gives up an answer that ended early, and waits for the next
// attempt if there may be one.
func (b *blobReader) interrupted(err error) error {
	b.drop()
	if err == io.EOF { //nolint:errorlint // the body's own io.EOF
		err = io.ErrUnexpectedEOF
	}
	return b.recover(err)
}

// finish looks for the end of the answer. One byte more is one too many; a host
// that only forgets to say that it is done has delivered all.
func (b *blobReader) finish(err error) error {
	defer b.join()
	defer b.drop()
	if err != nil || b.length >= 0 {
		return io.EOF
	}
	// The answer has no length. Closing its body ends the wait.
	stop := time.AfterFunc(endWait, func() { _ = b.body.Close() })
	defer stop.Stop()
	var one [1]byte
	if n, _ := b.body.Read(one[:]); n > 0 {
		return &SizeError{Object: b.job.object, Want: b.size, Got: b.size + 1}
	}
	return io.EOF
}

func (b *blobReader) drop() {
	if b.body != nil {
		_ = b.body.Close()
		b.body = nil
	}
	b.meter.reset()
}

// Close ends the transfer.
func (b *blobReader) Close() error {
	b.drop()
	b.join()
	if b.err == nil {
		b.err = errors.New("read blob: already closed")
	}
	return nil
}

// reject implements rejecter. If mirrors delivered any of the bytes, the blame is
// on them, and the origin keeps its chances.
func (b *blobReader) reject() bool {
	b.drop()
	b.join()
	mirrors := false
	for e := range b.sources {
		if !e.cfg.origin {
			b.registry.reject(b.job.key, e)
			mirrors = true
		}
	}
	return mirrors || b.registry.reject(b.job.key, b.endpoint)
}

// advance gets an answer that stands at pos, or the final error.
func (b *blobReader) advance() error {
	for {
		err := b.reopen()
		if err == nil {
			return nil
		}
		var final *finalError
		if errors.As(err, &final) {
			return final.err
		}
		b.drop()
		if err := b.recover(err); err != nil {
			return err
		}
	}
}

// finalError marks an error that no further attempt changes.
type finalError struct{ err error }

func (e *finalError) Error() string { return e.err.Error() }
func (e *finalError) Unwrap() error { return e.err }

// connect asks for the rest of the blob.
func (b *blobReader) connect(ctx context.Context) error {
	for {
		e := b.registry.next(b.job)
		b.endpoint = e
		b.job.request.offset, b.job.request.end = b.pos, b.end
		if b.noRange[e] {
			b.job.request.offset = 0
		}
		resp, err := e.send(ctx, b.job.request)
		if err == nil {
			err = b.accept(resp)
		}
		var refused *rangeError
		if errors.As(err, &refused) {
			b.noRange[e] = true
			continue
		}
		return err
	}
}

// rangeError says that the endpoint does not deliver the range it was asked for.
type rangeError struct{}

func (*rangeError) Error() string { return "read range: refused" }

// accept checks an answer and places it at pos.
func (b *blobReader) accept(resp *http.Response) error {
	ranged := b.job.request.offset > 0
	start := int64(0)
	switch {
	case resp.StatusCode == http.StatusPartialContent && ranged:
		from, to, total, err := parseContentRange(resp.Header.Get("Content-Range"))
		switch {
		case err != nil, from > b.pos:
			_ = resp.Body.Close()
			return &rangeError{}
		case total >= 0 && total != b.size:
			_ = resp.Body.Close()
			return b.wrongSize(total)
		case to >= b.end, resp.ContentLength >= 0 && from+resp.ContentLength != b.end:
			_ = resp.Body.Close()
			return &rangeError{}
		}
		start, b.reach = from, b.end
	case resp.StatusCode == http.StatusOK:
		if ranged {
			b.noRange[b.endpoint] = true
		}
		b.reach = b.size
		if n := resp.ContentLength; n >= 0 && n != b.size {
			_ = resp.Body.Close()
			return b.wrongSize(n)
		}
		if !b.endpoint.cfg.origin && bareMedia(resp.Header.Get("Content-Type")) == "text/html" {
			_ = resp.Body.Close()
			return &FormatError{Object: b.job.object, Reason: "the answer is a web page"}
		}
	case ranged && refusesRange(resp.StatusCode):
		closeBody(resp)
		return &rangeError{}
	default:
		return newAnswerError(resp)
	}
	b.body, b.length = resp.Body, resp.ContentLength
	if b.noRange[b.endpoint] {
		b.join() // what the others have would come once more
	}
	return b.skip(b.pos - start)
}

// wrongSize reports a copy of another size. A mirror's is given up for the next
// source; the origin's is the end.
func (b *blobReader) wrongSize(got int64) error {
	err := &SizeError{Object: b.job.object, Want: b.size, Got: got}
	if b.endpoint.cfg.origin {
		return &finalError{err: err}
	}
	return err
}

// refusesRange reports whether a request without a range may fare better than
// the one with it that got this status.
func refusesRange(code int) bool {
	switch code {
	case http.StatusUnauthorized, http.StatusNotFound, http.StatusGone,
		http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return code >= 400 && code < 500 || code == http.StatusNotImplemented
}

// skip reads what was delivered before.
func (b *blobReader) skip(n int64) error {
	if n == 0 {
		return nil
	}
	_, err := io.CopyN(io.Discard, b.body, n)
	if err == io.EOF { //nolint:errorlint // CopyN's own io.EOF
		err = io.ErrUnexpectedEOF
	}
	return err
}

// parseContentRange reads "bytes FROM-TO/TOTAL" (RFC 9110, 14.4). total is -1
// where it is not told.
func parseContentRange(s string) (from, to, total int64, err error) {
	bad := errors.New("parse Content-Range: malformed")
	unit, rest, ok := strings.Cut(strings.TrimSpace(s), " ")
	if !ok || strings.ToLower(unit) != "bytes" {
		return 0, 0, 0, bad
	}
	span, all, ok := strings.Cut(strings.TrimSpace(rest), "/")
	first, last, dash := strings.Cut(span, "-")
	if !ok || !dash {
		return 0, 0, 0, bad
	}
	from, ok1 := parseNumber(first)
	to, ok2 := parseNumber(last)
	if !ok1 || !ok2 || to < from {
		return 0, 0, 0, bad
	}
	if all == "*" {
		return from, to, -1, nil
	}
	total, ok = parseNumber(all)
	if !ok || total <= to {
		return 0, 0, 0, bad
	}
	return from, to, total, nil
}

// parseNumber accepts digits only.
func parseNumber(s string) (int64, bool) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}
