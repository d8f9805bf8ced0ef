package overlay

import (
	"fmt"
	"path/filepath"
	"strings"
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
	cmd := fmt.Sprintf("%smount -t overlay overlay -o %s %s", env, quote(c.data), quote(target))
	if c.dir == "/" && filepath.IsAbs(target) {
		return cmd
	}
	return fmt.Sprintf("cd %s && %s", quote(c.dir), cmd)
}

// quote makes one shell word of s.
func quote(s string) string {
	switch {
	case strings.ContainsAny(s, "\n\r"):
		return quoteNewline(s)
	case s != "" && strings.Trim(s, plain) == "":
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// plain are the characters that no shell treats specially.
const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+=:,@%^"

// quoteNewline writes s through printf, which keeps the line in one piece.
// Command substitution drops newlines at the end; "/." protects them, which
// names the same directory.
func quoteNewline(s string) string {
	var b strings.Builder
	b.WriteString(`"$(printf '`)
	if strings.HasSuffix(s, "\n") {
		s += "/."
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c == '%':
			b.WriteString("%%")
		case c < 0x20 || c == 0x7f || c == '\'' || c == '\\':
			fmt.Fprintf(&b, `\%03o`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteString(`')"`)
	return b.String()
}
