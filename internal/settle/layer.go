package settle

import "github.com/byhand/byhand/internal/mergewalk"

// Dir is a directory of a merged tree.
type Dir[D any, F mergewalk.File] interface {
	mergewalk.Dir[D, F]
	// Names returns the names that the directory shows.
	Names() ([]string, error)
	// Empty says that no layer has the directory.
	Empty() bool
}

// Kind is what a directory of one layer has at a name.
type Kind uint8

// The kinds of what a layer can have at a name.
const (
	Absent Kind = iota
	Directory
	Whiteout
	Other
)

// Layer is the layer that is settled, as it is kept on disk or in memory. D is
// a directory of the merged tree, F a file there, H a directory of the layer
// alone. Names handed in with a directory have one component; full is what the
// file is called in the layer. Errors are those of the system call that does
// the same, as unix.Errno.
type Layer[D Dir[D, F], F mergewalk.File, H any] interface {
	Reader[D, F, H]
	Editor[F, H]
	// Link makes the file f, which the merged tree shows at from, the entry
	// base, which is free, in dir. s is for what has to be found on the way.
	Link(s *Settler[D, F, H], f F, from string, dir H, base, full string) error
}

// Reader looks at the layer.
type Reader[D Dir[D, F], F mergewalk.File, H any] interface {
	// Root is the layer's root.
	Root() H
	// Top returns the layer's own directory in d, if it has one.
	Top(d D) (H, bool)
	// Below returns what d shows without the layer's own directory. It is
	// valid as long as d, and not to be closed.
	Below(d D) D
	// Owns says whether the layer has f itself.
	Owns(f F) bool
	// Kind says what dir has at base.
	Kind(dir H, base string) (Kind, error)
	// Open opens a directory in dir.
	Open(dir H, base string) (H, error)
	Close(dir H)
	// List returns the names in dir, whiteouts included.
	List(dir H) ([]string, error)
	// Opaque says whether dir hides what the layers below have in it.
	Opaque(dir H) (bool, error)
	// Plain says whether dir looks as SetPlain leaves it.
	Plain(dir H) bool
}

// Editor changes the layer.
type Editor[F mergewalk.File, H any] interface {
	// Make makes a plain directory in dir, which is depth components deep.
	Make(dir H, base string, depth int) error
	// SetPlain makes dir look like one that nobody described: mode 0755,
	// root's, from the epoch, no extended attributes.
	SetPlain(dir H) error
	SetOpaque(dir H) error
	// Inherit gives dir the mode, owner, times and extended attributes of
	// the directory from of a lower layer.
	Inherit(dir H, from F) error
	// Describe does so with the directory from of the layer itself; what dir
	// had is forgotten.
	Describe(dir, from H) error
	// Rename moves what src has at base to dst, where newBase must be free:
	// else it is unix.EEXIST.
	Rename(src H, base, full string, dst H, newBase, newFull string) error
	// Unmark removes a whiteout.
	Unmark(dir H, base string) error
	// Mark makes a whiteout.
	Mark(dir H, base string) error
	// RemoveDir removes a directory that has become empty.
	RemoveDir(dir H, base string) error
	// Drop removes a file that lost its name to another, a directory with
	// all that is in it.
	Drop(dir H, base, full string) error
	// KeepTimes runs fn, which changes what dir holds, and puts the
	// directory's times back.
	KeepTimes(dir H, fn func() error) error
}
