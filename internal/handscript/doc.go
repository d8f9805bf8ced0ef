// Package handscript writes a shell script that does for one image what
// byhand pull-and-unpack does: with curl, jq, sha256sum, tar and mount alone,
// commented for people who want to see how it is done.
//
// # What the script knows
//
// The generator has read the image. Digests, sizes and media types are written
// in, and the script stops at the first that does not match. config.json is
// written in as package bundle made it.
//
// # Layers
//
// A layer is unpacked by GNU tar as far as tar and package unpack agree. That
// is decided entry by entry when the script is made: an entry is left to tar if
// its name is plain and its own in the archive, the way to it leads through
// directories alone, and the settled tree of package imagetree has exactly this
// entry in the layer. All else is left out by --exclude, and made by single
// commands: whiteouts, implicit directories with what the layers below say
// about them, files that belong where a symbolic link of a lower layer leads
// (moved there), hard links to files of lower layers, and names that an archive
// has twice or writes in an odd way (copied from the tar byte by byte). So the
// result is that of byhand for any stack of layers, and for ordinary ones the
// script is short. Of an archive that GNU tar may read in another way, nothing
// is left to it: a symbolic link where byhand finds a directory would lead the
// commands that follow out of the lower dir.
//
// # Foreign strings
//
// Names, labels and variables come from the image. Those of printable
// characters stand in single quotes, all others are written as octal escapes
// of printf(1), so that what is seen is what is done.
package handscript
