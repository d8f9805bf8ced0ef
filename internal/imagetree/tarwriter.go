package imagetree

import (
	"cmp"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/tarstream"
)

// tarWriter writes POSIX.1-2017 pax archives. It does no more than what a
// tree needs and writes the same bytes for the same calls, whatever version
// of a library is at hand.
type tarWriter struct {
	w       io.Writer
	block   [blockSize]byte
	records []record
	pax     []byte
}

const blockSize = 512

// record is one of an extended header.
type record struct{ key, value string }

// Largest numbers of the header's octal fields.
const (
	maxOctal7  = 1<<21 - 1
	maxOctal11 = 1<<33 - 1
)

// header begins an entry for n. With first set, it is a hard link to that
// name.
func (t *tarWriter) header(name string, n *node, first string) error {
	h := fields{name: name, link: n.link, mode: n.mode & 0o7777, uid: int64(n.uid), gid: int64(n.gid), sec: n.sec}
	t.records = t.records[:0]
	switch n.mode & unix.S_IFMT {
	case unix.S_IFREG:
		h.flag, h.size = tarstream.TypeReg, n.size
	case unix.S_IFDIR:
		h.flag = tarstream.TypeDir
	case unix.S_IFLNK:
		h.flag = tarstream.TypeSymlink
	case unix.S_IFIFO:
		h.flag = tarstream.TypeFIFO
	case unix.S_IFCHR:
		h.flag = tarstream.TypeChar
	case unix.S_IFBLK:
		h.flag = tarstream.TypeBlock
	}
	if n.isDevice() {
		h.major, h.minor = unix.Major(uint64(n.size)), unix.Minor(uint64(n.size))
	}
	if first != "" {
		h.flag, h.link, h.size, h.major, h.minor = tarstream.TypeLink, first, 0, 0, 0
	} else {
		t.addXattrs(n.xattrs) // a link's are the file's
	}
	if h.sec < 0 || h.sec > maxOctal11 || n.nsec != 0 {
		t.add("mtime", paxTime(n.sec, int64(n.nsec)))
	}
	t.addNumber("uid", &h.uid, maxOctal7)
	t.addNumber("gid", &h.gid, maxOctal7)
	t.addNumber("size", &h.size, maxOctal11)
	if !h.setName(name) {
		t.add("path", name)
	}
	if len(h.link) > linkField.size() || !plain(h.link) {
		t.add("linkpath", h.link)
	}
	if err := t.extended(name); err != nil {
		return err
	}
	h.encode(&t.block)
	return t.write(t.block[:])
}

// addNumber adds a record for a number that its field cannot hold.
func (t *tarWriter) addNumber(key string, v *int64, most int64) {
	if *v > most {
		t.add(key, strconv.FormatInt(*v, 10))
		*v = 0
	}
}

func (t *tarWriter) add(key, value string) { t.records = append(t.records, record{key, value}) }

func (t *tarWriter) addXattrs(xattrs []tarstream.Xattr) {
	for _, x := range xattrs {
		// No "=" can be in the name, since it comes from such a record.
		t.add("SCHILY.xattr."+x.Name, x.Value)
	}
}

// extended writes the records, if there are any, as an entry of their own.
func (t *tarWriter) extended(name string) error {
	if len(t.records) == 0 {
		return nil
	}
	slices.SortFunc(t.records, func(a, b record) int { return cmp.Compare(a.key, b.key) })
	t.pax = t.pax[:0]
	for _, r := range t.records {
		t.pax = appendRecord(t.pax, r)
	}
	h := fields{name: "PaxHeaders/" + path.Base(name), flag: 'x', mode: 0o644, size: int64(len(t.pax))}
	h.name = h.name[:min(len(h.name), nameField.size())]
	h.encode(&t.block)
	if err := t.write(t.block[:]); err != nil {
		return err
	}
	if err := t.write(t.pax); err != nil {
		return err
	}
	return t.pad(int64(len(t.pax)))
}

// appendRecord appends "LENGTH KEY=VALUE\n", whose length counts itself.
func appendRecord(b []byte, r record) []byte {
	rest := len(r.key) + len(r.value) + 3
	size := rest + len(strconv.Itoa(rest))
	size = rest + len(strconv.Itoa(size))
	b = strconv.AppendInt(b, int64(size), 10)
	b = append(b, ' ')
	b = append(b, r.key...)
	b = append(b, '=')
	b = append(b, r.value...)
	return append(b, '\n')
}

// paxTime writes nsec after sec as a decimal number.
func paxTime(sec, nsec int64) string {
	if nsec == 0 {
		return strconv.FormatInt(sec, 10)
	}
	sign := ""
	if sec < 0 { // counts backwards from sec+1
		sign, sec, nsec = "-", -(sec + 1), 1e9-nsec
	}
	return sign + strings.TrimRight(fmt.Sprintf("%d.%09d", sec, nsec), "0")
}

func (t *tarWriter) write(p []byte) error {
	_, err := t.w.Write(p)
	return err
}

// pad fills the last block of content of this size.
func (t *tarWriter) pad(size int64) error {
	if over := size % blockSize; over != 0 {
		t.block = [blockSize]byte{}
		return t.write(t.block[over:])
	}
	return nil
}

// close ends the archive.
func (t *tarWriter) close() error {
	return t.write(make([]byte, 2*blockSize))
}

// plain says whether a name can stand in the header: text beyond ASCII is for
// pax records, whose encoding is known to be UTF-8. Bytes that are no text
// fare best in the header.
func plain(name string) bool {
	for i := range len(name) {
		if name[i] >= utf8.RuneSelf {
			return !utf8.ValidString(name)
		}
	}
	return true
}
