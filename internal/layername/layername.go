// Package layername says what the names in a layer's tar mean, for those who
// unpack it and those who only read it: OCI image specification, "Image Layer
// Filesystem Changeset".
package layername

import (
	"errors"
	"path"
	"strings"
)

const (
	whiteoutPrefix = ".wh."
	aufsPrefix     = ".wh..wh."
	opaqueMarker   = ".wh..wh..opq"
)

// AUFSLinks is the directory, in the root, where AUFS kept the files that have
// hard links.
const AUFSLinks = ".wh..wh.plnk"

// ErrEscape says that a relative name leads out of the layer by "..".
var ErrEscape = errors.New("name leads out of the layer")

// Clean returns name without what means nothing, relative to the root, "." for
// the root itself. The error is ErrEscape.
func Clean(name string) (string, error) {
	// path.Clean copies what begins with "./", the way most archives are made.
	for strings.HasPrefix(name, "./") {
		name = strings.TrimLeft(name[2:], "/")
	}
	name = path.Clean(name)
	if name[0] == '/' {
		name = name[1:]
		if name == "" {
			name = "."
		}
	}
	if name == ".." || strings.HasPrefix(name, "../") {
		return "", ErrEscape
	}
	return name, nil
}

// Split splits a clean name into the directory, "" for the root, and the last
// component.
func Split(name string) (dir, base string) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return "", name
	}
	return name[:i], name[i+1:]
}

// IsOpaque says whether the last component of a name is the marker that makes
// its directory hide what lower layers have there.
func IsOpaque(base string) bool { return base == opaqueMarker }

// Whiteout returns the name that base, the last component of a name, hides in
// lower layers; ok is false for what is no whiteout. The name can be one that no
// file has: "", "." or "..".
func Whiteout(base string) (hidden string, ok bool) {
	if strings.HasPrefix(base, aufsPrefix) {
		return "", false
	}
	return strings.CutPrefix(base, whiteoutPrefix)
}

// IsAUFS says whether a clean name is, or is in, what AUFS kept for itself.
// What may be the target of hard links is not counted.
func IsAUFS(name string) bool {
	if !strings.Contains(name, aufsPrefix) {
		return false
	}
	first := true
	for name != "" {
		comp, rest, _ := strings.Cut(name, "/")
		if strings.HasPrefix(comp, aufsPrefix) && !(first && comp == AUFSLinks) && !(rest == "" && comp == opaqueMarker) {
			return true
		}
		name, first = rest, false
	}
	return false
}
