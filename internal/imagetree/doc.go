// Package imagetree holds the merged tree of an image in memory, built from
// the headers in its layers alone, and writes it as one tar. Nothing is
// unpacked and no privilege is needed: owners, modes, devices and attributes
// are what the layers say, whoever asks.
//
// # The tree
//
// A layer means here what it means to package unpack and to the store that
// settles it on the layers below: the rules are those of [unpack] and of
// overlay's settling, step by step, with directories in memory in the place of
// those on disk. Each layer keeps a tree of its own, whiteouts and opaque
// directories included, and what shows through them is looked up when asked
// for. So there is a view for any number of layers ([Tree.Upto]), and each
// layer's part in it can be told ([Tree.Changes], [Tree.Stats]).
//
// What no Linux file can have is left out and summed up in [Tree.Skipped]:
// what unpack leaves out on any machine, and extended attributes of unknown
// name spaces, or of kinds of files that cannot have them. What only this
// machine or this user could not keep is in the tree.
//
// Every file takes about 200 bytes; link targets and attributes beyond the
// limit "memory" are refused. Content is not kept: a file knows the
// layer and the number of the tar entry that has it.
//
// # The tar
//
// [Tree.Export] writes POSIX's pax format, one entry for each name, in the
// order of [Tree.Walk]: the root "./" first, a directory right before what is
// in it, names within a directory in byte order. So any tar program can set a
// directory's times when it leaves it. Of a file with several names the first
// in this order is written as the file, the others as hard links to it.
//
// Each layer's content streams by only once for that, several layers at a
// time. Most archives have this order themselves; what comes too early is kept
// in a temporary file until its place comes.
//
// Times are exact to the nanosecond, numbers beyond the fields of the header
// are in pax records, extended attributes in SCHILY.xattr records sorted by
// name. Holes of sparse files are written as zeros. Names of users and groups
// are left empty. The bytes follow from the layers' diff IDs alone.
package imagetree
