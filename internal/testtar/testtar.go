// Package testtar builds tar archives in one expression, honest and other
// ones, for tests.
package testtar

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Entry is a piece of an archive.
type Entry struct {
	flag         byte
	name, link   string
	mode         int64
	uid, gid     int64
	major, minor int64
	modTime      time.Time
	pax          map[string]string
	body         string
	raw          []byte // instead of all that
}

// Option changes an entry.
type Option func(*Entry)

func entry(flag byte, name string, mode int64, opts []Option) Entry {
	e := Entry{flag: flag, name: name, mode: mode, modTime: time.Unix(1_600_000_000, 0)}
	for _, o := range opts {
		o(&e)
	}
	return e
}

// Dir is a directory, mode 0755.
func Dir(name string, o ...Option) Entry { return entry('5', name, 0o755, o) }

// File is a regular file, mode 0644.
func File(name, content string, o ...Option) Entry {
	e := entry('0', name, 0o644, o)
	e.body = content
	return e
}

// Symlink is a symbolic link.
func Symlink(name, target string, o ...Option) Entry {
	e := entry('2', name, 0o777, o)
	e.link = target
	return e
}

// Link is a hard link.
func Link(name, target string, o ...Option) Entry {
	e := entry('1', name, 0o644, o)
	e.link = target
	return e
}

// Char is a character device, mode 0600.
func Char(name string, major, minor int64, o ...Option) Entry {
	e := entry('3', name, 0o600, o)
	e.major, e.minor = major, minor
	return e
}

// Block is a block device, mode 0600.
func Block(name string, major, minor int64, o ...Option) Entry {
	e := entry('4', name, 0o600, o)
	e.major, e.minor = major, minor
	return e
}

// Fifo is a FIFO, mode 0600.
func Fifo(name string, o ...Option) Entry { return entry('6', name, 0o600, o) }

// Whiteout hides name in lower layers.
func Whiteout(name string, o ...Option) Entry {
	i := strings.LastIndexByte(name, '/') + 1
	return File(name[:i]+".wh."+name[i:], "", o...)
}

// Opaque hides what lower layers have in the directory dir, "" for the root.
func Opaque(dir string, o ...Option) Entry {
	if dir != "" {
		dir += "/"
	}
	return File(dir+".wh..wh..opq", "", o...)
}

// Raw is bytes to stand in the archive as they are.
func Raw(b []byte) Entry { return Entry{raw: b} }

// Mode sets permission, setuid, setgid and sticky bits.
func Mode(mode int64) Option { return func(e *Entry) { e.mode = mode } }

// Owner sets the owner.
func Owner(uid, gid int) Option { return func(e *Entry) { e.uid, e.gid = int64(uid), int64(gid) } }

// ModTime sets the modification time, with nanoseconds.
func ModTime(t time.Time) Option { return func(e *Entry) { e.modTime = t } }

// Type overrides the type flag.
func Type(flag byte) Option { return func(e *Entry) { e.flag = flag } }

// Xattr adds an extended attribute.
func Xattr(name, value string) Option { return PAX("SCHILY.xattr."+name, value) }

// PAX adds a record to the entry's extended header.
func PAX(key, value string) Option {
	return func(e *Entry) {
		if e.pax == nil {
			e.pax = make(map[string]string)
		}
		e.pax[key] = value
	}
}

// Tar returns the archive of the entries with its trailer.
func Tar(entries ...Entry) []byte {
	return append(Cut(entries...), make([]byte, 1024)...)
}

// Cut returns the archive of the entries without a trailer.
func Cut(entries ...Entry) []byte {
	var out []byte
	for _, e := range entries {
		if e.raw != nil {
			out = append(out, e.raw...)
			continue
		}
		if records := e.records(); records != "" {
			out = append(out, Header(Fields{Type: 'x', Name: "PaxHeaders/0"}, []byte(records))...)
		}
		out = append(out, Header(Fields{
			Type: e.flag, Name: cut(e.name, 100), Linkname: cut(e.link, 100),
			Mode: octal(e.mode, 7), UID: octal(e.uid, 7), GID: octal(e.gid, 7), ModTime: octal(e.modTime.Unix(), 11),
			Major: octal(e.major, 7), Minor: octal(e.minor, 7),
		}, []byte(e.body))...)
	}
	return out
}

func cut(s string, n int) string { return s[:min(n, len(s))] }

// octal returns the number if it fits, else 0: a PAX record says it then.
func octal(v int64, digits int) string {
	if s := fmt.Sprintf("%0*o", digits, v); v >= 0 && len(s) == digits {
		return s
	}
	return strings.Repeat("0", digits)
}

// records returns the PAX records of the entry, those given and those that
// its other values need.
func (e *Entry) records() string {
	need := make(map[string]string)
	if len(e.name) > 100 {
		need["path"] = e.name
	}
	if len(e.link) > 100 {
		need["linkpath"] = e.link
	}
	for key, id := range map[string]int64{"uid": e.uid, "gid": e.gid} {
		if id >= 1<<21 {
			need[key] = fmt.Sprint(id)
		}
	}
	if sec, nsec := e.modTime.Unix(), int64(e.modTime.Nanosecond()); sec < 0 || nsec != 0 || sec >= 1<<33 {
		sign := ""
		if sec < 0 && nsec > 0 {
			sec, nsec = sec+1, 1e9-nsec
		}
		if sec < 0 || e.modTime.Unix() < 0 {
			sign, sec = "-", -sec
		}
		need["mtime"] = fmt.Sprintf("%s%d.%09d", sign, sec, nsec)
	}
	maps.Copy(need, e.pax)
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(need)) {
		b.WriteString(Record(key, need[key]))
	}
	return b.String()
}

// Record returns a record of a PAX header.
func Record(key, value string) string {
	body := " " + key + "=" + value + "\n"
	size := len(body)
	for len(fmt.Sprint(size))+len(body) != size {
		size = len(fmt.Sprint(size)) + len(body)
	}
	return fmt.Sprint(size) + body
}

// Fields are the parts of a header block as they shall stand there. Empty
// ones are zero bytes, but for Magic, which is ustar's, and the checksum,
// which is right.
type Fields struct {
	Type                   byte
	Name, Linkname, Prefix string
	Mode, UID, GID         string
	Size, ModTime          string
	Magic                  string // with the version, 8 bytes
	Major, Minor           string
	Tail                   []byte // from byte 345, over Prefix
	BadSum                 bool
}

// Header returns a header block with the content, padded.
func Header(f Fields, content []byte) []byte {
	b := make([]byte, 512, 512+len(content)+511)
	put := func(offset int, s string) { copy(b[offset:], s) }
	put(0, f.Name)
	put(100, f.Mode)
	put(108, f.UID)
	put(116, f.GID)
	put(124, f.Size)
	if f.Size == "" {
		put(124, fmt.Sprintf("%011o", len(content)))
	}
	put(136, f.ModTime)
	b[156] = f.Type
	put(157, f.Linkname)
	put(257, f.Magic)
	if f.Magic == "" {
		put(257, "ustar\x0000")
	}
	put(329, f.Major)
	put(337, f.Minor)
	put(345, f.Prefix)
	copy(b[345:], f.Tail)
	put(148, "        ")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	if f.BadSum {
		sum++
	}
	put(148, fmt.Sprintf("%06o\x00 ", sum))
	b = append(b, content...)
	return append(b, make([]byte, -len(content)&511)...)
}
