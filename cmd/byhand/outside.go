package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// outside refuses a place for results that is inside the store, where they
// would damage images, or be taken for a part of one.
func (s *session) outside(doing, path string) error {
	inside, err := within(path, s.store.Dir())
	if err != nil {
		return fmt.Errorf("%s %s: %w", doing, path, err)
	}
	if inside {
		return usagef("%s %s: it is inside the store %s, which is byhand's own; name another place", doing, path, s.store.Dir())
	}
	return nil
}

// within says whether path, which need not exist, is dir or leads below it.
func within(path, dir string) (bool, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return false, err
	}
	var rest string
	for {
		real, err := filepath.EvalSymlinks(path)
		if err == nil {
			path = filepath.Join(real, rest)
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || path == "/" {
			return false, err
		}
		path, rest = filepath.Dir(path), filepath.Join(filepath.Base(path), rest)
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return false, err
	}
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel), err
}
