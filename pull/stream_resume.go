package pull

import (
	"context"
	"errors"
	"io"
)

// resumed is a blob whose beginning an earlier attempt left behind. The rest is
// opened when the beginning has ended: only then it is known where.
type resumed struct {
	have io.Reader                                 // nil once it has ended
	size int64                                     // of the whole blob
	had  int64                                     // bytes that came from have
	open func(offset int64) (io.ReadCloser, error) // the rest
	rest io.ReadCloser                             // nil: not opened, or not needed
}

// Read implements io.Reader.
func (r *resumed) Read(p []byte) (int, error) {
	if r.have != nil {
		n, err := r.have.Read(p[:min(int64(len(p)), r.size-r.had)])
		r.had += int64(n)
		if r.had >= r.size || ended(err) {
			r.have, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
	if r.had >= r.size {
		return 0, io.EOF
	}
	if r.rest == nil {
		var err error
		if r.rest, err = r.open(r.had); err != nil {
			return 0, err
		}
	}
	return r.rest.Read(p)
}

// Close implements io.Closer.
func (r *resumed) Close() error {
	if r.rest == nil {
		return nil
	}
	return r.rest.Close()
}

// fresh says how many of the n bytes that end at end are not from have.
func (r *resumed) fresh(end, n int64) int64 { return min(n, max(0, end-r.had)) }

// Fetch reads the layer's blob for its compressed bytes alone, which o.Keep
// gets. It returns nil only after size and digest have matched.
func (l *Layer) Fetch(ctx context.Context, o OpenOptions) (err error) {
	r, err := l.open(ctx, "", o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for {
		if _, err := r.NextChunk(); ended(err) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
