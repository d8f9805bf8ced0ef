package imagetree

import "strings"

// field is a part of the header block (POSIX.1-2017 pax(1), ustar
// Interchange Format).
type field struct{ from, to int }

var (
	nameField   = field{0, 100}
	modeField   = field{100, 108}
	uidField    = field{108, 116}
	gidField    = field{116, 124}
	sizeField   = field{124, 136}
	mtimeField  = field{136, 148}
	sumField    = field{148, 156}
	flagField   = field{156, 157}
	linkField   = field{157, 257}
	magicField  = field{257, 265}
	majorField  = field{329, 337}
	minorField  = field{337, 345}
	prefixField = field{345, 500}
)

func (f field) size() int { return f.to - f.from }

func (f field) put(b *[blockSize]byte, s string) { copy(b[f.from:f.to], s) }

// octal writes v with zeros in front and a NUL behind.
func (f field) octal(b *[blockSize]byte, v int64) {
	for i := f.to - 2; i >= f.from; i-- {
		b[i] = byte('0' + v&7)
		v >>= 3
	}
	b[f.to-1] = 0
}

// fields are what a header block says. Strings that are too long are cut.
type fields struct {
	name, prefix, link string
	flag               byte
	mode               uint32
	uid, gid, size     int64
	sec                int64
	major, minor       uint32
}

// setName splits name between the fields for it. It reports whether the name
// fits there.
func (h *fields) setName(name string) bool {
	h.name, h.prefix = name, ""
	if !plain(name) {
		return false
	}
	if len(name) <= nameField.size() {
		return true
	}
	// The slash between the two is in neither. A directory's last slash has to
	// stay in the name.
	from := max(len(name)-nameField.size()-1, 1)
	i := strings.IndexByte(name[from:len(name)-1], '/')
	if i < 0 || from+i > prefixField.size() {
		return false
	}
	h.prefix, h.name = name[:from+i], name[from+i+1:]
	return true
}

// encode writes the header block.
func (h *fields) encode(b *[blockSize]byte) {
	*b = [blockSize]byte{}
	nameField.put(b, h.name)
	prefixField.put(b, h.prefix)
	linkField.put(b, h.link)
	magicField.put(b, "ustar\x0000")
	flagField.put(b, string(rune(h.flag)))
	modeField.octal(b, int64(h.mode))
	uidField.octal(b, h.uid)
	gidField.octal(b, h.gid)
	sizeField.octal(b, h.size)
	if h.sec >= 0 && h.sec <= maxOctal11 {
		mtimeField.octal(b, h.sec)
	} else {
		mtimeField.octal(b, 0)
	}
	majorField.octal(b, int64(h.major))
	minorField.octal(b, int64(h.minor))
	sumField.put(b, "        ")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	field{sumField.from, sumField.to - 1}.octal(b, int64(sum))
	b[sumField.to-1] = ' '
}
