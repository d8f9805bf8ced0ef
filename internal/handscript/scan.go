package handscript

import (
	"context"
	"errors"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/byhand/byhand/internal/imagetree"
	"github.com/byhand/byhand/internal/tarstream"
)

// member is a tar entry as GNU tar meets it.
type member struct {
	ordinal int64
	kind    byte
	raw     string // the name as --exclude has to say it
	name    string // clean, "." for the root; "" if it leads out
	link    string // clean target of a hard link
	plain   bool   // GNU tar understands name and attributes as byhand does
	locked  bool   // has attributes that GNU tar sets after it may not any more, if not root
	offset  int64  // of the content in the uncompressed tar
	size    int64  // holes included
	sparse  []tarstream.Segment
}

// archive is one layer's members.
type archive struct {
	members   []member
	ambiguous bool  // GNU tar may find another archive in it
	size      int64 // of the uncompressed tar
}

// scan reads the headers of a layer. The content of wanted entries is kept.
func scan(ctx context.Context, source imagetree.Source, wanted map[int64][]byte) (_ archive, err error) {
	var a archive
	r, err := source.Open(ctx)
	if err != nil {
		return a, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	tar := tarstream.NewReader(r, tarstream.Options{HeaderSize: 1<<63 - 1}) // the tree was built within the limit
	for n := int64(0); ; n++ {
		if err := ctx.Err(); err != nil {
			return a, err
		}
		h, err := tar.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return a, err
		}
		a.members = append(a.members, newMember(n, tar.Offset(), h))
		if _, ok := wanted[n]; ok {
			if wanted[n], err = content(tar, h); err != nil {
				return a, err
			}
		}
	}
	err = tar.Drain()
	a.ambiguous, a.size = tar.Ambiguous(), tar.Offset()
	return a, err
}

func newMember(ordinal, offset int64, h *tarstream.Header) member {
	raw := strings.TrimRight(h.Name, "/")
	name, ok := clean(h.Name)
	m := member{ordinal: ordinal, kind: h.Type, raw: raw, name: name, offset: offset, size: h.Size}
	m.plain = ok && plainName(h.Name, name, h.Type == tarstream.TypeDir) && !slices.ContainsFunc(h.Xattrs, oddXattr)
	if h.Type == tarstream.TypeLink {
		link, ok := clean(h.Linkname)
		m.link = link
		m.plain = m.plain && ok && plainName(h.Linkname, link, false)
	}
	m.locked = h.Type == tarstream.TypeReg && h.Mode&0o200 == 0 && len(h.Xattrs) > 0
	if h.IsSparse {
		m.sparse = slices.Clone(h.Sparse)
	}
	return m
}

// clean is how package unpack understands a name.
func clean(name string) (string, bool) {
	name = path.Clean(name)
	if name != "/" {
		name = strings.TrimPrefix(name, "/")
	} else {
		name = "."
	}
	return name, name != ".." && !strings.HasPrefix(name, "../")
}

// plainName says whether GNU tar makes of raw, without a warning that matters
// and without special treatment, the clean name. It takes out what leads up
// from the middle of a name, where byhand resolves it.
func plainName(raw, clean string, dir bool) bool {
	if dir {
		raw = strings.TrimSuffix(raw, "/")
	}
	return raw == clean || raw == "./"+clean || raw == "/"+clean
}

// oddXattr knows attributes whose names GNU tar writes in another way than
// Docker does: since 1.35 it decodes a percent sign.
func oddXattr(x tarstream.Xattr) bool { return strings.ContainsAny(x.Name, "%=") }

// content reads a whole file, holes included.
func content(tar *tarstream.Reader, h *tarstream.Header) ([]byte, error) {
	if h.Size > userFileLimit {
		return nil, nil // bundle.Spec refuses it by its size
	}
	var data []byte
	for {
		p, err := tar.Data()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		data = append(data, p...)
	}
	if !h.IsSparse {
		return data, nil
	}
	whole := make([]byte, h.Size)
	for _, s := range h.Sparse {
		copy(whole[s.Offset:], data[:s.Length])
		data = data[s.Length:]
	}
	return whole, nil
}
