package teststack

import (
	"fmt"
	"time"

	"github.com/byhand/byhand/internal/testtar"
)

// Op is one entry of a layer.
type Op struct {
	Kind   string // dir file symlink link whiteout opaque fifo char
	Name   string
	Target string // of links; content of files
	Mode   int64
	UID    int
	GID    int
	Time   time.Time
	Xattr  string // value of user.mark (files, dirs), "" for none
}

func (o Op) String() string {
	return fmt.Sprintf("%s %q %q mode=%o uid=%d t=%d x=%q", o.Kind, o.Name, o.Target, o.Mode, o.UID, o.Time.UnixNano(), o.Xattr)
}

// Entry is the same for a tar.
func (o Op) Entry() testtar.Entry {
	opts := []testtar.Option{testtar.Mode(o.Mode), testtar.Owner(o.UID, o.GID), testtar.ModTime(o.Time)}
	if o.Xattr != "" {
		opts = append(opts, testtar.Xattr("user.mark", o.Xattr))
	}
	switch o.Kind {
	case "dir":
		return testtar.Dir(o.Name, opts...)
	case "file":
		return testtar.File(o.Name, o.Target, opts...)
	case "symlink":
		return testtar.Symlink(o.Name, o.Target, opts...)
	case "link":
		return testtar.Link(o.Name, o.Target, opts...)
	case "whiteout":
		return testtar.Whiteout(o.Name, opts...)
	case "opaque":
		return testtar.Opaque(o.Name, opts...)
	case "fifo":
		return testtar.Fifo(o.Name, opts...)
	}
	return testtar.Char(o.Name, 1, 3, opts...)
}
