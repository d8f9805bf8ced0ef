package unpack

import (
	"fmt"
	"strconv"

	"github.com/byhand/byhand/internal/human"
)

// SkipKind is a kind of thing that was not kept.
type SkipKind int

const (
	// SkipXattr is an extended attribute that the file system or the
	// caller's want of privilege refused.
	SkipXattr SkipKind = iota
	// SkipOverlayXattr is an attribute in the name space that overlayfs
	// keeps for itself; it would be obeyed rather than shown.
	SkipOverlayXattr
	// SkipOwner is an owner that the caller may not give.
	SkipOwner
	// SkipDevice is a device node that the caller may not make.
	SkipDevice
	// SkipZeroDevice is a character device 0:0, which overlayfs takes for a
	// whiteout.
	SkipZeroDevice
	// SkipTime is a modification time that the file system cannot hold; it
	// was clamped.
	SkipTime
	// SkipType is an entry that describes the archive and no file: a volume
	// label or a list of old names of GNU tar.
	SkipType

	skipKinds // number of kinds
)

// Skip sums up what was not kept for one reason.
type Skip struct {
	Kind  SkipKind
	Count int    // how many times
	Name  string // of the first file concerned
	What  string // the first attribute, owner, device or time concerned
	Err   error  // why, where the kernel said so
	// Attrs are, of SkipXattr, the names of the attributes, each once, as
	// many as MostAttrs.
	Attrs []string
}

// MostAttrs bounds Skip.Attrs: a layer can name as many as it likes.
const MostAttrs = 64

func (s Skip) String() string {
	what := [...]struct{ noun, fate string }{
		SkipXattr:        {"extended attribute", "not kept"},
		SkipOverlayXattr: {"overlayfs attribute", "left out"},
		SkipOwner:        {"owner", "not kept"},
		SkipDevice:       {"device node", "not made"},
		SkipZeroDevice:   {"character device", "of number 0:0 left out"},
		SkipTime:         {"time", "clamped to what the file system holds"},
		SkipType:         {"archive label", "left out"},
	}
	noun, fate, first := "thing", "not kept", ""
	if s.Kind >= 0 && int(s.Kind) < len(what) {
		noun, fate = what[s.Kind].noun, what[s.Kind].fate
	}
	if s.Count != 1 {
		first = "first "
	}
	text := fmt.Sprintf("%s %s, %s%s of %s", human.Count(s.Count, noun), fate, first, s.What, strconv.Quote(s.Name))
	if s.Err != nil {
		text += ": " + s.Err.Error()
	}
	return text
}
