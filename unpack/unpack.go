package unpack

import (
	"io"
	"time"
)

// Format is how whiteouts and opaque directories are written for the kernel.
type Format int

const (
	// Overlay marks opaque directories with trusted.overlay.opaque, which
	// needs CAP_SYS_ADMIN in the initial user namespace.
	Overlay Format = iota
	// OverlayUser marks them with user.overlay.opaque, for overlays mounted
	// with the option userxattr.
	OverlayUser
)

// Owners says what to do with the owners that a layer names.
type Owners int

const (
	// Keep gives every file the owner of its entry, or fails.
	Keep Owners = iota
	// Squash keeps an owner where the kernel allows it and else leaves the
	// file to the caller, counted in Result.Skipped, without the setuid and
	// setgid bits that were meant for another. The first refusal for want of
	// privilege ends the attempts.
	Squash
)

// Options configure Apply. The zero value is ready to use.
type Options struct {
	// Format chooses the name of the opaque attribute.
	Format Format
	// Limits bound what a layer may ask for; zero fields mean the defaults.
	Limits Limits
	// Owners says what to do with owners that the caller may not give.
	Owners Owners
	// Record, when not nil, receives what Rebuild needs to write the exact
	// tar stream again from the directory. About 600 bytes per entry that
	// compress to a few; compressing is the caller's business.
	Record io.Writer
	// Entry, when not nil, is called for each entry of the stream once it is
	// in place. The value and its strings may be kept.
	Entry func(Entry)
	// NoOpenat2 does without openat2(2), as old kernels and strict seccomp
	// filters force it.
	NoOpenat2 bool
}

// Entry tells what a tar entry says about a name, before owners are squashed
// or times clamped.
type Entry struct {
	Name    string // where it is in the directory, slash-separated, "." for the root
	Link    string // target of a symbolic or hard link, as written in the layer
	Type    byte   // tar type flag: '0' file, '1' hard link, '2' symbolic link, '3' char, '4' block, '5' directory, '6' FIFO, 'W' whiteout, 'O' opaque marker
	Mode    uint32 // permission, setuid, setgid and sticky bits
	UID     int
	GID     int
	Size    int64 // content length of a file, holes included
	ModTime time.Time
	Major   uint32
	Minor   uint32
}

// Result tells what a layer consisted of.
type Result struct {
	Counts  Counts
	Bytes   int64 // content bytes of regular files, holes not counted
	TarSize int64 // bytes of the tar stream, all that r gave
	Pending Pending
	Skipped []Skip // what could not be kept, one element per kind
}

// Counts are numbers of tar entries by kind. Entries counts them all,
// including those that were skipped; Implicit counts directories without one.
type Counts struct {
	Entries, Files, Dirs, Symlinks, HardLinks, Devices, FIFOs int
	Whiteouts, Opaques, Implicit                              int
}

// Pending is what only the layers below can settle. All names are
// slash-separated, relative to the directory and free of symbolic links of
// this layer.
type Pending struct {
	// ImplicitDirs are directories made only because a path passes through
	// them, parents first; they have mode 0755, owner 0:0 and time 0. The
	// root is "." when the layer has no entry for it. Directories below one
	// that hides the lower layers (opaque, or whited out and made anew) are
	// not listed: nothing below can say anything about them.
	ImplicitDirs []string
	// HardLinks are links whose target was not in this layer when their
	// entry came, in tar order. Nothing exists at Name, or whatever a later
	// settled directory brings.
	HardLinks []HardLink
	// Whiteouts are the device 0:0 nodes made, parents first. Those in a
	// directory that no lower layer has should be removed: overlayfs lists
	// them there, as names that nothing can be done with.
	Whiteouts []string
	// OpaqueRoot is set when the layer hides all layers below it. The kernel
	// does not look at the attribute on the root of a lower directory.
	OpaqueRoot bool
}

// HardLink is a link to be made: Name becomes a link to Target. As much of
// Target as this layer knows is resolved; the rest is as written, cleaned.
type HardLink struct {
	Name, Target string
}

// Empty reports whether the directory is complete without the layers below.
func (p Pending) Empty() bool {
	return len(p.ImplicitDirs) == 0 && len(p.HardLinks) == 0 && len(p.Whiteouts) == 0 && !p.OpaqueRoot
}
