// Package tempfile makes files that have no name, and so are gone with the
// process that made them, however it ends.
package tempfile

import (
	"errors"
	"fmt"
	"os"
)

// Error says that there can be no temporary files in Dir.
type Error struct {
	Dir string
	Err error
}

func (e *Error) Error() string {
	return fmt.Sprintf("make a temporary file in %s: %v; set TMPDIR to another directory", e.Dir, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Unnamed makes a file for reading and writing in $TMPDIR, or else in /var/tmp,
// which is for large files; /tmp is memory on many machines. Its name, which
// begins with prefix, is removed at once.
//
// Without a directory that takes it, it is an [*Error].
func Unnamed(prefix string) (*os.File, error) {
	dir := dir()
	f, err := os.CreateTemp(dir, prefix)
	if err != nil {
		if cause, ok := errors.AsType[*os.PathError](err); ok { // its name tells nobody anything
			err = cause.Err
		}
		return nil, &Error{Dir: dir, Err: err}
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func dir() string {
	const large = "/var/tmp"
	if dir := os.Getenv("TMPDIR"); dir != "" {
		return dir
	}
	if _, err := os.Stat(large); err == nil {
		return large
	}
	return os.TempDir()
}
