package overlay

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/byhand/byhand/internal/shell"
)

// MountCommand returns the line for a POSIX shell that does with mount(8)
// what Mount does, on one line whatever the paths contain. It changes into
// the directory that holds the layers, so that the options stay short and
// the odd characters of a path are the shell's business, not overlayfs's.
func MountCommand(o MountOptions) string {
	if len(o.Lower) == 0 {
		return ""
	}
	if abs, err := absolute(o); err == nil {
		o = abs
	}
	c := plan(o)
	target := c.target
	if strings.HasPrefix(target, "-") {
		target = "./" + target
	}
	env := ""
	if len(c.data) > fsStringMax {
		// util-linux 2.39 hands each option to fsconfig(2), which takes 255
		// bytes; this makes it use mount(2). Other versions ignore it.
		env = "LIBMOUNT_FORCE_MOUNT2=always "
	}
	cmd := fmt.Sprintf("%smount -t overlay overlay -o %s %s", env, shell.Quote(c.data), shell.Quote(target))
	if c.dir == "/" && filepath.IsAbs(target) {
		return cmd
	}
	return fmt.Sprintf("cd %s && %s", shell.Quote(c.dir), cmd)
}
