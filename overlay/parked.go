package overlay

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/unpack"
)

// nameParked is what a parked layer has beside its diff.
const nameParked = "parked"

// parkedVersion is the version of parkedFile.
const parkedVersion = 1

// parkedFile is what else has to be known of a parked layer. Names in it may be
// any bytes, so that it is no JSON.
type parkedFile struct {
	Version int
	Format  Format // a store that holds no layer yet can still get another
	Counts  unpack.Counts
	Bytes   int64
	TarSize int64
	Pending unpack.Pending
	Skipped []string
	NotKept notKept
}

// park gives a verified layer that has to wait for those below a name that
// outlives this process, so that the next one need not fetch it again. Where
// that fails it stays this process's own. The caller holds the chain's lock.
func (st *staged) park() {
	s, t := st.task.adder.store, st.task
	if t.again {
		return // a repair trusts nothing that was there before it
	}
	file := filepath.Join(st.path, nameParked)
	path := s.layout.parked(t.chain, s.boot)
	err := writeParked(file, parkedFile{
		Version: parkedVersion, Format: s.ownFormat(), Counts: st.result.Counts, Bytes: st.result.Bytes, TarSize: st.result.TarSize,
		Pending: st.result.Pending, Skipped: st.skipped, NotKept: st.notKept,
	})
	if err == nil {
		err = renameNew(st.path, path)
	}
	if err != nil {
		_ = os.Remove(file)
		return
	}
	st.path, st.parked = path, true
}

// unpark makes a parked layer this process's own again, before it is changed.
func (st *staged) unpark() error {
	if !st.parked {
		return nil
	}
	s := st.task.adder.store
	o, err := s.own()
	if err != nil {
		return err
	}
	work := o.work(s.layout)
	if err := renameNew(st.path, work); err != nil {
		return fmt.Errorf("take parked layer: %w", err)
	}
	st.path, st.parked = work, false
	if err := os.Remove(filepath.Join(work, nameParked)); err != nil {
		return fmt.Errorf("take parked layer: %w", err)
	}
	return nil
}

// adopt takes the layer that an earlier process of this boot verified and
// parked, nil if there is none. The caller holds the chain's lock.
func (t *task) adopt() (*staged, error) {
	s := t.adder.store
	st := &staged{task: t, path: s.layout.parked(t.chain, s.boot), parked: true}
	f, err := readParked(filepath.Join(st.path, nameParked))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && (t.again || f.Format != s.ownFormat()) {
		st.discard()
		return nil, nil
	}
	if err == nil {
		st.diff, err = os.Open(filepath.Join(st.path, nameDiff))
	}
	if err == nil {
		err = st.unpark()
	}
	if err != nil {
		// Whatever it is, it can be fetched.
		s.warn(err, "take over layer")
		st.discard()
		return nil, nil
	}
	st.result = unpack.Result{Counts: f.Counts, Bytes: f.Bytes, TarSize: f.TarSize, Pending: f.Pending}
	st.skipped, st.notKept = f.Skipped, f.NotKept
	e := t.event(EventAdopted)
	e.Unpacked = st.result
	s.observe(e)
	return st, nil
}

// leave keeps a parked layer for the next process, unless what ended the wait
// says that the image is bad, then nobody will come for it, or that the disk is
// full, then its room is wanted.
func (st *staged) leave(ctx context.Context) {
	if !st.parked {
		return
	}
	cause := context.Cause(ctx)
	full := errors.Is(cause, unix.ENOSPC) || errors.Is(cause, unix.EDQUOT)
	st.gone = !full && !st.task.adder.damaged(cause) && !isBad(cause)
}

// isBad reports whether a layer is malformed, hostile or beyond a limit.
func isBad(err error) bool {
	var format *unpack.FormatError
	var entry *unpack.EntryError
	return isLimit(err) || errors.As(err, &format) || errors.As(err, &entry) && !isLocal(err)
}

func writeParked(path string, p parkedFile) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(gob.NewEncoder(f).Encode(p), f.Close())
}

func readParked(path string) (p parkedFile, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return p, err
	}
	defer func() { _ = f.Close() }()
	if err := gob.NewDecoder(f).Decode(&p); err != nil {
		return p, fmt.Errorf("read %s: %w", path, err)
	}
	if p.Version != parkedVersion {
		return p, fmt.Errorf("read %s: version %d, expected %d", path, p.Version, parkedVersion)
	}
	return p, nil
}
