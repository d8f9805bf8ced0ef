package overlay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/byhand/byhand/unpack"
)

// Format is how a store's layers were made. Layers of different formats cannot
// be mixed: an overlay mount reads one kind of opaque marker, and owners
// written through one ID mapping mean others through another.
type Format struct {
	// UserXattr says that opaque markers are user.overlay.opaque.
	UserXattr bool `json:"userXattr"`
	// Squashed says that owners may have been left to the process that
	// unpacked.
	Squashed bool `json:"squashed"`
	// UIDMap and GIDMap are the lines of the user namespace's uid_map and
	// gid_map, "" for the identity of the initial one and when Squashed.
	UIDMap string `json:"uidMap,omitempty"`
	GIDMap string `json:"gidMap,omitempty"`
}

func (f Format) String() string {
	s := "trusted.overlay markers"
	if f.UserXattr {
		s = "user.overlay markers"
	}
	switch {
	case f.Squashed:
		s += ", owners squashed"
	case f.UIDMap == "" && f.GIDMap == "":
		s += ", true owners"
	default:
		s += fmt.Sprintf(", owners mapped (users %s; groups %s)", f.UIDMap, f.GIDMap)
	}
	return s
}

// Format returns how the store's layers were made; known is false while
// nothing was unpacked into it yet.
func (s *Store) Format() (f Format, known bool, err error) {
	path := s.layout.format()
	raw, err := readSmall(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Format{}, false, nil
	}
	const remedy = "remove the images (byhand rm, byhand prune), then this file"
	if err != nil {
		return Format{}, false, withRemedy(err, remedy)
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return Format{}, false, &CorruptError{
			Path: path, Reason: "not JSON: " + err.Error(), Remedy: remedy,
		}
	}
	return f, true, nil
}

// ownFormat is the format in which this process would write.
func (s *Store) ownFormat() Format {
	f := Format{UserXattr: s.opts.UserXattr, Squashed: s.opts.Owners == unpack.Squash}
	if !f.Squashed {
		f.UIDMap, f.GIDMap = idMap("/proc/self/uid_map"), idMap("/proc/self/gid_map")
	}
	return f
}

// identityMap is the mapping of the initial user namespace
// (user_namespaces(7)).
const identityMap = "0 0 4294967295"

// idMap reads an ID mapping with single spaces, lines joined by commas.
func idMap(path string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "" // a kernel without user namespaces
	}
	var lines []string
	for line := range strings.Lines(string(raw)) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	m := strings.Join(lines, ", ")
	if m == identityMap {
		return ""
	}
	return m
}

// claimFormat makes sure that layers made now fit those in the store. The
// first to unpack decides; a store without layers can be claimed anew.
func (s *Store) claimFormat(ctx context.Context) error {
	want := s.ownFormat()
	have, known, err := s.Format()
	if err == nil && known && have == want {
		return nil // the usual case needs no lock
	}
	lock, err := lockDir(ctx, s.layout.indexLock(), true)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	have, known, err = s.Format()
	if err == nil && known && have == want {
		return nil
	}
	if err == nil && known {
		err = &FormatError{Path: s.layout.root, Have: have, Want: want}
	}
	if err != nil {
		entries, rerr := os.ReadDir(s.layout.layers())
		if rerr != nil {
			return fmt.Errorf("read layers: %w", rerr)
		}
		if len(entries) > 0 {
			return err
		}
	}
	raw, err := json.Marshal(want)
	if err != nil {
		return fmt.Errorf("write %s: %w", nameFormat, err)
	}
	return s.writeFile(s.layout.format(), raw, 0o644)
}
