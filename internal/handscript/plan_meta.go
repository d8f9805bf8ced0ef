package handscript

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/imagetree"
)

// describe finishes the directories, after all that happens in them.
func (d *draft) describe() {
	for _, e := range d.want {
		if !e.IsDir() {
			continue
		}
		at := d.at(e.Name)
		if e.Opaque && !d.flat {
			d.plan.opaques = append(d.plan.opaques, step{"opaque", at})
		}
		locked := d.flat && e.Mode&0o700 != 0o700 && d.explicit[e.Name] && d.dirty[e.Name]
		if locked {
			d.plan.unlock = append(d.plan.unlock, step{"chmod", "u+rwx", at})
		}
		switch {
		case !d.explicit[e.Name], locked:
			d.plan.meta = append(d.plan.meta, attributes(e.Entry, at, d.flat)...)
		case d.dirty[e.Name]:
			d.plan.meta = append(d.plan.meta, stamp(e.Entry, at))
		}
	}
}

// attributes gives a file its owner, mode, attributes and time, in an order in
// which one does not undo the other: chown clears setuid bits and file
// capabilities. In a flat tree, which an ordinary user may make, the mode comes
// after what it could forbid.
func attributes(e imagetree.Entry, at string, flat bool) []step {
	steps := []step{{"own", owner(e), at}}
	change := step{"chmod", mode(e), at}
	if e.Mode&unix.S_IFMT == unix.S_IFLNK {
		change = nil
	}
	if !flat && change != nil {
		steps = append(steps, change)
	}
	for _, x := range e.Xattrs {
		steps = append(steps, step{"attribute", at, x.Name, hexValue(x.Value)})
	}
	if flat && change != nil {
		steps = append(steps, change)
	}
	return append(steps, stamp(e, at))
}

func owner(e imagetree.Entry) string {
	return strconv.FormatUint(uint64(e.UID), 10) + ":" + strconv.FormatUint(uint64(e.GID), 10)
}

// mode is written in five digits, for with fewer GNU chmod leaves a directory
// the setgid bit that it was given by its parent.
func mode(e imagetree.Entry) string { return fmt.Sprintf("%05o", e.Mode&0o7777) }

// hexValue is a value as setfattr(1) takes it.
func hexValue(v string) string {
	if v == "" {
		return ""
	}
	const digits = "0123456789abcdef"
	b := []byte("0x")
	for i := range len(v) {
		b = append(b, digits[v[i]>>4], digits[v[i]&15])
	}
	return string(b)
}

func stamp(e imagetree.Entry, at string) step { return step{"stamp", timestamp(e), at} }

// timestamp is a time as touch(1) of GNU takes it after an @: decimal seconds,
// the fraction counted away from zero.
func timestamp(e imagetree.Entry) string {
	sec, nsec, sign := e.ModTime.Unix(), e.ModTime.Nanosecond(), ""
	if sec < 0 && nsec > 0 {
		sec, nsec, sign = -(sec + 1), 1e9-nsec, "-"
	}
	s := sign + strconv.FormatInt(sec, 10)
	if nsec > 0 {
		frac := strconv.Itoa(nsec)
		s += "." + strings.Repeat("0", 9-len(frac)) + frac
	}
	return s
}
