package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/pull"
)

// withTree runs h with the tree of the image that the first operand names,
// not loaded yet, and frees what was fetched for it.
func withTree(h func(context.Context, *imageTree) error) handler {
	// What an ordinary user has unpacked belongs to users of a namespace.
	return inNamespaceQuietly(withStore(func(ctx context.Context, s *session) (err error) {
		// A reader that has seen enough, as head has, must not end the
		// program before it has cleaned up. A signal that is caught comes as
		// an error of the write.
		ignored := make(chan os.Signal, 1)
		signal.Notify(ignored, syscall.SIGPIPE)
		defer signal.Stop(ignored)
		t := &imageTree{session: s}
		err = h(ctx, t)
		if errors.Is(err, syscall.EPIPE) {
			err = &silentError{exitSignal + int(syscall.SIGPIPE)}
		}
		return errors.Join(err, t.free(ctx))
	}))
}

func layerFlag() cli.Flag {
	return &cli.IntFlag{Name: "layer", Usage: "look at the first `N` layers alone, the base is 1", DefaultText: "all"}
}

// wantLayers reads --layer.
func (t *imageTree) wantLayers() error {
	s := t.session
	if n := s.flags.Int("layer"); n > 0 {
		t.layers = n
	} else if s.flags.IsSet("layer") {
		return usagef("--layer %d: layers are counted from 1, the base", n)
	}
	return nil
}

// layerNumber reads an operand that names a layer.
func layerNumber(arg string) (int, error) {
	n, err := strconv.Atoi(arg)
	if err != nil || n < 1 {
		return 0, usagef("layer %q: expected a number; 1 is the base", arg)
	}
	return n, nil
}

// fileError says what became of a file of an image.
type fileError struct {
	op, name string
	img      *pull.Image
	err      error
}

func (e *fileError) Error() string {
	text := e.op + " " + e.name + " in " + e.img.Reference.String() + ": " + e.err.Error()
	if e.missing() {
		text += "; byhand ls shows what there is"
	}
	return text
}

func (e *fileError) Unwrap() error { return e.err }

// missing says whether there is no such file, however that came out.
func (e *fileError) missing() bool {
	for _, errno := range []error{unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.ENAMETOOLONG} {
		if errors.Is(e.err, errno) {
			return true
		}
	}
	return false
}

// fileError names the file and the image in an error of the tree's.
func (t *imageTree) fileError(op, name string, err error) error {
	if isAny[*outputError](err) {
		return err
	}
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err
	}
	e := &fileError{op: op, name: name, img: t.img, err: err}
	if e.missing() {
		return &codedError{e, exitNotFound}
	}
	return e
}
