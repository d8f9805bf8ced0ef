package unpack

import (
	"context"
	"io"
)

// SettleRecord goes on with a finished record, saying what settling the layer
// on those below did to its directory, so that Rebuild still finds the files.
// A nil one records nothing.
type SettleRecord struct{ r recorder }

// NewSettleRecord returns a SettleRecord that writes to w, which stands at the
// end of what Apply wrote. When ctx is done, Deleting gives up. The files that
// it keeps may have as many bytes as l allows a layer.
func NewSettleRecord(ctx context.Context, w io.Writer, l Limits) *SettleRecord {
	return &SettleRecord{*newRecorder(ctx, w, l.WithDefaults().Bytes)}
}

// Moved says that the file or directory from, with all in it, is now called
// to. Both are slash-separated and relative to the layer's directory.
func (s *SettleRecord) Moved(from, to string) error {
	if s == nil {
		return nil
	}
	s.r.op(opMoved)
	s.r.string(from)
	s.r.string(to)
	return s.r.failure()
}

// Deleting keeps the content of base in dirfd, called name in the layer's
// directory, with all below it, before it is deleted.
func (s *SettleRecord) Deleting(dirfd int, base, name string) error {
	if s == nil {
		return nil
	}
	return s.r.keep(opDeleted, dirfd, base, name)
}

// Copied says that name is a copy of a lower layer's file, which the file
// system could not link.
func (s *SettleRecord) Copied(name string) error {
	if s == nil {
		return nil
	}
	s.r.op(opCopied)
	s.r.string(name)
	return s.r.failure()
}

// Finish writes out what is buffered.
func (s *SettleRecord) Finish() error {
	if s == nil {
		return nil
	}
	s.r.flush()
	return s.r.failure()
}
