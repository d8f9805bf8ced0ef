// Package tempfile makes files that have no name, and so are gone with the
// process that made them, however it ends.
package tempfile

import (
	"errors"
	"os"
)

// Unnamed makes a file for reading and writing in $TMPDIR, or else in /var/tmp,
// which is for large files; /tmp is memory on many machines. Its name, which
// begins with prefix, is removed at once.
func Unnamed(prefix string) (*os.File, error) {
	f, err := os.CreateTemp(dir(), prefix)
	if err != nil {
		return nil, err
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
