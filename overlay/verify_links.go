package overlay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"path"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/imagetree"
	"github.com/byhand/byhand/internal/rootfd"
)

// linkedName is a name of a file that is no directory, and which file it is
// on disk.
type linkedName struct {
	key   imagetree.FileKey
	name  string
	id    fileID
	nlink uint64
}

// linkPlace is where a file was met first.
type linkPlace struct {
	proof *layerProof
	linkedName
}

func (l linkPlace) String() string {
	return fmt.Sprintf("%s of layer %d", slashed(l.name), l.proof.index+1)
}

// compareLinks demands that names of one file in the layers are names of one
// file on disk, in one layer and across layers, and that no others are.
func (v *verifier) compareLinks(ctx context.Context, tree *imagetree.Tree) error {
	files := map[imagetree.FileKey]linkPlace{}
	ids := map[fileID]linkPlace{}
	for _, p := range v.proofs[:tree.Layers()] {
		copies := map[imagetree.FileKey]linkPlace{}
		for _, l := range p.links {
			here := linkPlace{p, l}
			first, met := files[l.key]
			if p.copies[l.name] && met && first.proof != p {
				if err := v.compareCopy(ctx, first, here); err != nil {
					return err
				}
				if first, met = copies[l.key]; !met {
					copies[l.key] = here
				}
			}
			if !met {
				files[l.key] = here
			} else if first.id != l.id {
				p.differ(slashed(l.name), "hard link", "the same file as "+first.String(), "a file of its own")
				continue
			}
			if l.nlink < 2 {
				continue
			}
			if other, met := ids[l.id]; !met {
				ids[l.id] = here
			} else if other.key != l.key {
				p.differ(slashed(l.name), "hard link", "a file of its own", "the same file as "+other.String())
			}
		}
	}
	return nil
}

// compareCopy compares the content of a copy that stands in the place of a hard
// link to a lower layer's file, since no tar has it.
func (v *verifier) compareCopy(ctx context.Context, low, here linkPlace) error {
	var sums [2][]byte
	for i, l := range []linkPlace{low, here} {
		var err error
		if sums[i], err = l.sum(ctx); err != nil {
			return fmt.Errorf("verify layer %d: %w", l.proof.index+1, entryError(l.name, "read", err))
		}
	}
	if !bytes.Equal(sums[0], sums[1]) {
		here.proof.differ(slashed(here.name), "content", "that of "+low.String(), "something else")
	}
	return nil
}

// sum hashes the file, nil if it is no regular one.
func (l linkPlace) sum(ctx context.Context) ([]byte, error) {
	fd, err := unix.FcntlInt(l.proof.dir.diff.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	root := rootfd.FromFD(fd, rootfd.Options{NoOpenat2: false})
	defer func() { _ = root.Close() }()
	dir, err := root.OpenAt(path.Dir(l.name), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(dir) }()
	var st unix.Stat_t
	if err := lstatat(dir, path.Base(l.name), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, err
	}
	f, err := openRegular(dir, path.Base(l.name))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	_, err = io.Copy(h, &ctxReader{ctx.Err, f})
	return h.Sum(nil), err
}
