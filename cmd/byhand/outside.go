package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
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

// outsideDir is outside for a directory to be made. A link that leads to nothing
// is refused: no directory is made in its place, nor where it leads.
func (s *session) outsideDir(doing, dir string) error {
	path, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("%s %s: %w", doing, dir, err)
	}
	if link, target := dangling(path); link != "" {
		return &codedError{
			fmt.Errorf("%s %s: %s is a link to %s, which is not there; make that first, or name another directory", doing, dir, link, target),
			exitNotFound,
		}
	}
	return s.outside(doing, dir)
}

// dangling returns the link that path leads through to something that is not
// there, and what that is, from the directory of the link if it does not begin
// with a slash; or "" if there is none.
func dangling(path string) (link, target string) {
	for ; ; path = filepath.Dir(path) {
		info, err := os.Lstat(path)
		if err != nil && path != "/" {
			continue
		}
		if err != nil || info.Mode()&fs.ModeSymlink == 0 {
			return "", ""
		}
		if _, err = os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return "", ""
		}
		target, err = os.Readlink(path)
		if err != nil {
			return "", ""
		}
		return path, target
	}
}

// led returns where the links lead path that end in nothing: a file that is
// written through one is made there.
func led(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	for range maxLinks {
		link, target := dangling(path)
		if link == "" {
			break
		}
		if !filepath.IsAbs(target) {
			dir, err := filepath.EvalSymlinks(filepath.Dir(link))
			if err != nil {
				return "", err
			}
			target = filepath.Join(dir, target)
		}
		path = filepath.Join(target, path[len(link):])
	}
	return path, nil
}

// within says whether path, which need not exist, is dir or leads below it.
func within(path, dir string) (bool, error) {
	path, err := led(path)
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
