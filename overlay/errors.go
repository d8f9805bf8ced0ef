package overlay

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/opencontainers/go-digest"

	"github.com/byhand/byhand/internal/shell"
)

// LayerError reports which layer of an image could not be added. Index counts
// from 1, base first.
type LayerError struct {
	Index  int
	DiffID DiffID
	Err    error
}

func (e *LayerError) Error() string {
	return fmt.Sprintf("add layer %d (diff ID %s): %v", e.Index, e.DiffID, e.Err)
}

// Unwrap returns the cause.
func (e *LayerError) Unwrap() error { return e.Err }

// MissingLayerError reports a layer that the store does not have, or has but
// cannot trust. It is an [fs.ErrNotExist].
type MissingLayerError struct {
	ChainID ChainID
	Reason  string
}

func (e *MissingLayerError) Error() string {
	return fmt.Sprintf("find layer %s in the store: %s; unpack the image again", e.ChainID, e.Reason)
}

// Is makes the error an [fs.ErrNotExist].
func (e *MissingLayerError) Is(target error) bool { return target == fs.ErrNotExist }

// NotFoundError reports an image that the store does not list. Available
// names the platforms it does have of it. It is an [fs.ErrNotExist].
type NotFoundError struct {
	Name      string
	Platform  string
	Available []string
}

func (e *NotFoundError) Error() string {
	if len(e.Available) > 0 {
		return fmt.Sprintf("find image %s for %s in the store: there is %s",
			e.Name, e.Platform, strings.Join(e.Available, ", "))
	}
	return fmt.Sprintf("find image %s in the store: not there", e.Name)
}

// Is makes the error an [fs.ErrNotExist].
func (e *NotFoundError) Is(target error) bool { return target == fs.ErrNotExist }

// InUseError reports something that cannot be removed because Users (bundle
// directories, mounts) need it.
type InUseError struct {
	What  string
	Users []string
}

func (e *InUseError) Error() string {
	remedy := "unmount or remove that first"
	for _, u := range e.Users {
		if dir, ok := strings.CutPrefix(u, bundleUser("")); ok {
			remedy = "remove the bundle first, with byhand rm " + shell.Quote(dir)
		}
	}
	return fmt.Sprintf("remove %s: in use by %s; %s", e.What, strings.Join(e.Users, ", "), remedy)
}

// SpaceError reports a file system without room. Sizes are in bytes. It is a
// [syscall.ENOSPC].
type SpaceError struct {
	Path       string
	Need, Have int64
}

func (e *SpaceError) Error() string {
	return fmt.Sprintf("reserve space in %s: %d bytes needed, %d bytes free; free some, or choose another directory",
		e.Path, e.Need, e.Have)
}

// Is makes the error a [syscall.ENOSPC].
func (e *SpaceError) Is(target error) bool { return target == syscall.ENOSPC }

// FormatError reports that a store's layers were made in another way than the
// caller would make them, so that the two cannot be mixed in one image.
type FormatError struct {
	Path string
	Have Format // what the store holds
	Want Format // what the caller would write
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("open store %s: its layers hold %s, this process would write %s; "+
		"run as before, remove its images (byhand rm, byhand prune), or use another store (--store)", e.Path, e.Have, e.Want)
}

// CorruptError reports a file of the store that cannot be what this package
// wrote. Remedy says what to do about it.
type CorruptError struct {
	Path   string
	Reason string
	Remedy string

	foreign bool // it is whole, and another's
}

// withRemedy says what to do about a file that cannot be what it should be.
func withRemedy(err error, remedy string) error {
	var corrupt *CorruptError
	if errors.As(err, &corrupt) && corrupt.Remedy == "" {
		corrupt.Remedy = remedy
	}
	return err
}

func (e *CorruptError) Error() string {
	s := fmt.Sprintf("read %s: %s", e.Path, e.Reason)
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}

// DigestError reports content whose digest is not the expected one.
type DigestError struct {
	Object string
	Want   digest.Digest
	Got    digest.Digest
}

func (e *DigestError) Error() string {
	return fmt.Sprintf("verify %s: expected digest %s, found %s", e.Object, e.Want, e.Got)
}

// SizeError reports content whose size in bytes is not the expected one.
type SizeError struct {
	Object    string
	Want, Got int64
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("verify %s: expected %d bytes, found %d", e.Object, e.Want, e.Got)
}

var (
	_ error = (*LayerError)(nil)
	_ error = (*MissingLayerError)(nil)
	_ error = (*NotFoundError)(nil)
	_ error = (*InUseError)(nil)
	_ error = (*SpaceError)(nil)
	_ error = (*FormatError)(nil)
	_ error = (*CorruptError)(nil)
	_ error = (*DigestError)(nil)
	_ error = (*SizeError)(nil)
)
