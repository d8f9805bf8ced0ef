package overlay

import (
	"path/filepath"
	"strings"
)

// UpperUser names the overlay mount that has dir as its upper dir and is the root
// of a container, or of another process that this one may look at; "" if there is
// none. A container outlives the unmounting of its bundle, with a mount of its own
// that nobody else sees. overlayfs must not have one upper dir twice, but only
// says so in the kernel's log.
//
// What is no root does not count: a mount namespace that was made for anything
// else while the bundle was mounted may have a copy that nobody uses. As for lower
// dirs, the names of an ordinary user's mounts are looked up in the kernel's memory
// alone.
func UpperUser(dir string) (string, error) {
	upper, err := inodeOf(dir)
	if err != nil {
		return "", nil //nolint:nilerr // what is not there is used by nobody
	}
	mounts, err := overlays()
	if err != nil {
		return "", err
	}
	for _, m := range mounts {
		if m.pid == 0 || m.target != "/" || !filepath.IsAbs(m.upper) {
			continue
		}
		// By name it was given with backslashes before colons and commas, by
		// descriptor without.
		for _, name := range []string{m.upper, strings.Join(splitLower(m.upper), ":")} {
			if i, err := inodeNear(name, m.alien); err == nil && i == upper {
				return m.String(), nil
			}
		}
	}
	return "", nil
}
