package unpack

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/bits"
	"os"

	"github.com/byhand/byhand/internal/crc32c"
	"github.com/byhand/byhand/internal/rootfd"
	"github.com/byhand/byhand/internal/sys"
	"github.com/byhand/byhand/internal/tarstream"
	"golang.org/x/sys/unix"
)

// A record is recordMagic and then, to its end, operations: a byte that says
// which, and its operands. Numbers are unsigned varints, strings and bytes a
// number and that many bytes.
//
//	'H' bytes                          the stream goes on with these
//	'Z' number                         it goes on with so many zeros: most of a
//	                                   header is, and what is left out here
//	                                   need not be compressed
//	'F' name size n n×(offset length)  it goes on with these parts of the file,
//	                                   which has that size
//	'C' number                         CRC-32C of these parts: it tells only which
//	                                   file was changed; that one was is told by
//	                                   the layer's digest
//	'B' name size bytes                the file of the last 'F' of that name
//	                                   was replaced; this was its content. For
//	                                   a reader of the stream this is nothing.
//	'A' name number                    likewise; the content is that of the 'B'
//	                                   that many before, 1 is the last one: a
//	                                   file of many names is kept once
//	'E'                                the end; a record without was cut off
//
// What settling did may follow, in its order. Names are those of the moment:
//
//	'M' name name                      the first was moved to the second
//	'D' name size bytes                the file was deleted; this was its content
//	'G' name number                    likewise; the content is that of the 'D'
//	                                   that many before
//	'L' name                           a copy of a lower layer's file is here,
//	                                   in the place of a hard link to it
const recordMagic = "byhand layer record 1\n"

const (
	opBytes    = 'H'
	opZeros    = 'Z'
	opFile     = 'F'
	opSum      = 'C'
	opReplaced = 'B'
	opAgain    = 'A'
	opEnd      = 'E'
	opMoved    = 'M'
	opDeleted  = 'D'
	opGoneToo  = 'G'
	opCopied   = 'L'
)

// maxPlain bounds the bytes of one 'H' or 'Z', maxOut roughly those of one
// write.
const (
	maxPlain = 64 << 10
	maxOut   = 64 << 10
)

// minZeros is the shortest run of zeros that has an operation of its own.
const minZeros = 32

// recorder writes a record. A nil one does nothing.
type recorder struct {
	w     io.Writer
	out   []byte // operations not written yet
	plain []byte // bytes of the stream without an operation yet
	sum   uint32 // of what content was given since the last file
	err   error  // the first

	stopped func() error     // why to give up what takes long
	room    int64            // bytes of files that may still be kept
	limit   int64            // what that was at first
	kept    int64            // files kept so far
	keptAs  map[fileID]int64 // of those with further names, by their place among them
	most    int              // how many of those are remembered
}

// mostKept bounds memory to some 4 MB. Of more files that have further names all
// is kept again.
const mostKept = 1 << 16

// fileID tells whether two names are one file.
type fileID struct{ dev, ino uint64 }

// newRecorder keeps up to limit bytes of files that are gone, holes included.
func newRecorder(ctx context.Context, w io.Writer, limit int64) *recorder {
	return &recorder{w: w, stopped: ctx.Err, room: limit, limit: limit, keptAs: map[fileID]int64{}, most: mostKept}
}

// meta takes bytes of the stream that are no file's.
func (r *recorder) meta(p []byte) error {
	for len(p) > 0 {
		n := min(len(p), maxPlain-len(r.plain))
		r.plain = append(r.plain, p[:n]...)
		p = p[n:]
		if len(r.plain) == maxPlain {
			r.flushPlain()
		}
	}
	return r.failure()
}

func (r *recorder) flushPlain() {
	for p := r.plain; len(p) > 0; {
		from, to := zeroRun(p)
		if from > 0 {
			r.op(opBytes)
			r.number(int64(from))
			r.out = append(r.out, p[:from]...)
		}
		if to > from {
			r.op(opZeros)
			r.number(int64(to - from))
		}
		p = p[to:]
	}
	r.plain = r.plain[:0]
	if len(r.out) >= maxOut {
		r.flush()
	}
}

// zeroRun returns where in p the first run of at least minZeros zeros begins and
// ends, both at the end if there is none. Every such run holds eight bytes of
// those that are looked at, whatever it begins with.
func zeroRun(p []byte) (from, to int) {
	const step = minZeros - 8
	for at := 0; at+8 <= len(p); {
		if binary.LittleEndian.Uint64(p[at:]) != 0 {
			at += step
			continue
		}
		from, to = at-zerosBefore(p[:at]), at+zeros(p[at:])
		if to-from >= minZeros {
			return from, to
		}
		at = to
	}
	return len(p), len(p)
}

// zeros counts those that p begins with.
func zeros(p []byte) int {
	n := 0
	for ; n+8 <= len(p); n += 8 {
		if w := binary.LittleEndian.Uint64(p[n:]); w != 0 {
			return n + bits.TrailingZeros64(w)/8
		}
	}
	for n < len(p) && p[n] == 0 {
		n++
	}
	return n
}

// zerosBefore counts those that p ends with.
func zerosBefore(p []byte) int {
	n := len(p)
	for ; n >= 8; n -= 8 {
		if w := binary.LittleEndian.Uint64(p[n-8:]); w != 0 {
			return len(p) - n + bits.LeadingZeros64(w)/8
		}
	}
	for n > 0 && p[n-1] == 0 {
		n--
	}
	return len(p) - n
}

// file says that the stream goes on with the segments of the file base in dir,
// which is "" for the root and ends in a slash otherwise.
func (r *recorder) file(dir, base string, size int64, segs []tarstream.Segment) error {
	if r == nil {
		return nil
	}
	r.flushPlain()
	r.sum = 0
	r.op(opFile)
	r.number(int64(len(dir) + len(base)))
	r.out = append(append(r.out, dir...), base...)
	r.number(size)
	r.number(int64(len(segs)))
	for _, s := range segs {
		r.number(s.Offset)
		r.number(s.Length)
	}
	return r.failure()
}

// content takes the next bytes of the file's segments.
func (r *recorder) content(p []byte) {
	if r != nil {
		r.sum = crc32c.Update(r.sum, p)
	}
}

// fileEnd says that the last file has been given as a whole.
func (r *recorder) fileEnd() error {
	if r == nil {
		return nil
	}
	r.op(opSum)
	r.number(int64(r.sum))
	return r.failure()
}

func (r *recorder) finish() error {
	if r == nil {
		return nil
	}
	r.flushPlain()
	r.op(opEnd)
	r.flush()
	return r.failure()
}

func (r *recorder) op(b byte) { r.out = append(r.out, b) }

func (r *recorder) number(v int64) { r.out = binary.AppendUvarint(r.out, uint64(v)) }

func (r *recorder) string(s string) {
	r.number(int64(len(s)))
	r.out = append(r.out, s...)
}

// flush writes what is in out.
func (r *recorder) flush() {
	if r.err == nil && len(r.out) > 0 {
		_, r.err = r.w.Write(r.out)
	}
	r.out = r.out[:0]
}

func (r *recorder) failure() error {
	if r.err != nil {
		return fmt.Errorf("write record of layer: %w", r.err)
	}
	return nil
}

// replaced keeps the content of base in dirfd, called name in the record,
// with all below it, before it is deleted.
func (r *recorder) replaced(dirfd int, base, name string) error {
	return r.keep(opReplaced, dirfd, base, name)
}

// keep is replaced for an operation like it.
func (r *recorder) keep(op byte, dirfd int, base, name string) error {
	if r == nil {
		return nil
	}
	var st unix.Stat_t
	err := sys.Fstatat(dirfd, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return r.keepFile(op, dirfd, base, name, &st)
	case unix.S_IFDIR:
		return r.keepDir(op, dirfd, base, name)
	}
	return nil
}

func (r *recorder) keepFile(op byte, dirfd int, base, name string, st *unix.Stat_t) error {
	again, err := r.keepAgain(op, name, st)
	if again || err != nil {
		return err
	}
	f, err := openFile(dirfd, base)
	if errors.Is(err, unix.EACCES) {
		// An ordinary user's, without permission to read. It is deleted next.
		if err := rootfd.Chmodat(dirfd, base, 0o600); err != nil {
			return err
		}
		f, err = openFile(dirfd, base)
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if r.room -= info.Size(); r.room < 0 {
		return &LimitError{Limit: "bytes", Max: r.limit, Got: addSaturated(r.limit, -r.room)}
	}
	r.op(op)
	r.string(name)
	r.number(info.Size())
	r.flush()
	return r.copy(f, info.Size())
}

// keepAgain refers to what was kept of the file under another name, if it was.
// As long as it has further names its number is no other file's.
func (r *recorder) keepAgain(op byte, name string, st *unix.Stat_t) (bool, error) {
	id := fileID{uint64(st.Dev), st.Ino}
	at, ok := r.keptAs[id]
	switch {
	case st.Nlink < 2:
		delete(r.keptAs, id)
	case !ok && len(r.keptAs) < r.most:
		r.keptAs[id] = r.kept
	}
	if !ok {
		r.kept++
		return false, nil
	}
	r.op(map[byte]byte{opReplaced: opAgain, opDeleted: opGoneToo}[op])
	r.string(name)
	r.number(r.kept - at)
	if len(r.out) >= maxOut {
		r.flush()
	}
	return true, r.failure()
}

// copy writes size bytes of a file that is kept.
func (r *recorder) copy(f io.Reader, size int64) error {
	const step = 64 << 20 // takes some ten milliseconds
	for size > 0 && r.err == nil {
		if err := r.stopped(); err != nil {
			return err
		}
		n, err := io.CopyN(r.w, f, min(size, step))
		if err != nil {
			return err
		}
		size -= n
	}
	return r.failure()
}

func (r *recorder) keepDir(op byte, dirfd int, base, name string) error {
	dir, err := openFile(dirfd, base)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	for {
		list, err := dir.ReadDir(1000)
		for _, item := range list {
			if item.IsDir() || item.Type().IsRegular() {
				err := r.keep(op, int(dir.Fd()), item.Name(), name+"/"+item.Name())
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// openFile opens base in dirfd for reading, without following a link.
func openFile(dirfd int, base string) (*os.File, error) {
	fd, err := rootfd.Retry(func() (int, error) {
		return sys.Openat(dirfd, base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), base), nil
}
