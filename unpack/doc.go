// Package unpack turns one layer's tar stream into one directory as overlayfs
// expects its lower directories, the form that Docker's overlay2 keeps too.
// It knows nothing of images, stores or other layers; what only the layers
// below can settle is handed back as Pending.
//
// # Rules
//
// The last entry of a name wins. A directory entry for a name that is a
// directory already gives it new metadata and leaves its content; anything
// else takes the place of what was there.
//
// Names are cleaned as path.Clean does. An absolute name starts at the root
// of the layer; a relative one that leads out by ".." is refused with
// ErrEscape, as is the target of a hard link. A symbolic link may say
// anything: it is content. A path that passes through a symbolic link of the
// same layer is resolved inside the layer. A directory that a path needs and
// that has no entry (yet) is an implicit one, see Pending.ImplicitDirs.
//
// A whiteout ".wh.X" becomes the character device 0:0 named X, unless the
// layer has an X of its own, before or after: a directory X becomes opaque,
// anything else is reason enough. ".wh..wh..opq" makes its directory opaque,
// and there whiteouts, having nothing to hide, are left out. Other names that
// begin with ".wh..wh." are leftovers of AUFS and are skipped; hard links to
// what is in the root's ".wh..wh.plnk" work.
//
// A hard link has the metadata of its target's entry; what its own entry says
// is not looked at.
//
// # What cannot be kept
//
// A layer does not speak to the kernel. A character device 0:0 in it is left
// out, for overlayfs would take it for a whiteout, and so are extended
// attributes trusted.overlay.* and user.overlay.*. Devices that the caller
// may not make, attributes that the file system or the caller's want of
// privilege refuses, owners with Squash, times that the file system cannot
// hold: each kind is summed up once in Result.Skipped.
//
// GNU tar's directories with a list of their content (type 'D') are
// directories. Labels ('V') and old long names ('N') are left out. The rest
// of a file that began on another volume ('M') and unknown types are errors,
// as they are for Docker. Global PAX headers have no effect, as for Docker.
//
// # Record
//
// A tar stream is its headers and the content of its files. With
// Options.Record Apply writes the former, a few tenths of a percent of the
// layer once compressed, and Rebuild puts both together again, so that a
// directory can be proved against the layer's digest long after the layer is
// gone. The digest covers names, content, owners, modes and times as the
// layer says them; Rebuild reads no more of the directory than content. Who
// settles the directory on lower layers goes on with the record, by a
// SettleRecord. A checksum of each file tells which of them was changed.
//
// # Trust
//
// Apply has written files before the stream's end, which is when a verifying
// reader tells whether they are what was asked for. It reads to the end
// whatever follows the archive, and returns the reader's error as it is. If
// the archive itself is malformed, the rest is read too, since a digest that
// does not match explains more. Unless Apply returns nil, the directory's
// content is to be thrown away.
//
// All work is done through descriptors of directories that Apply made or
// opened component by component below the given one, so that no order of
// entries leads elsewhere. Nobody else may change the directory meanwhile; it
// should lie in one that only the caller can enter, since files with setuid
// bits are in it before they are verified.
package unpack
