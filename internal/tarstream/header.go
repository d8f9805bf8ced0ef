package tarstream

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"strconv"
	"strings"
)

// Type flags of POSIX.1-2017 pax(1) and of GNU tar. Header.Type is one of
// TypeReg to TypeFIFO, TypeDumpDir to TypeVolume or a flag unknown here.
const (
	TypeReg     = '0'
	TypeLink    = '1'
	TypeSymlink = '2'
	TypeChar    = '3'
	TypeBlock   = '4'
	TypeDir     = '5'
	TypeFIFO    = '6'

	TypeDumpDir  = 'D' // a directory; the content lists what was in it
	TypeMulti    = 'M' // the rest of a file begun on another volume
	TypeOldNames = 'N' // long names, before 'L'
	TypeVolume   = 'V' // the archive's label

	typeRegV7     = 0
	typeCont      = '7' // contiguous file; to be treated as a file
	typePax       = 'x'
	typePaxGlobal = 'g'
	typeLongName  = 'L'
	typeLongLink  = 'K'
	typeSparse    = 'S'
)

// Time is a point in time, Nsec from 0 to 999,999,999 after Sec.
type Time struct {
	Sec  int64
	Nsec int64
}

// Xattr is an extended attribute.
type Xattr struct {
	Name, Value string
}

// Segment is a piece of a sparse file that is not a hole.
type Segment struct {
	Offset, Length int64
}

// Header describes an entry. Strings may be kept; slices are valid until Next.
type Header struct {
	Type       byte
	Name       string // any bytes but NUL, as in the archive
	Linkname   string
	Mode       int64
	UID, GID   int64
	Size       int64 // of the file, holes included
	ModTime    Time
	AccessTime Time // if HasAtime
	HasAtime   bool
	Major      int64
	Minor      int64
	Xattrs     []Xattr
	Sparse     []Segment // ascending; only if IsSparse
	IsSparse   bool
}

// hasData says whether content follows the header. The size field of the
// others is no more than information.
func (h *Header) hasData() bool {
	return h.Type < TypeLink || h.Type > TypeFIFO
}

// field is a part of the header block.
type field struct{ from, to int }

var (
	fName    = field{0, 100}
	fMode    = field{100, 108}
	fUID     = field{108, 116}
	fGID     = field{116, 124}
	fSize    = field{124, 136}
	fMtime   = field{136, 148}
	fSum     = field{148, 156}
	fLink    = field{157, 257}
	fMagic   = field{257, 265} // with the version
	fMajor   = field{329, 337}
	fMinor   = field{337, 345}
	fPrefix  = field{345, 500}
	fTrailer = field{508, 512}

	fStarPrefix = field{345, 476}
	fStarAtime  = field{476, 488}
	fStarCtime  = field{488, 500}
	fGNUAtime   = field{345, 357}
	fGNUCtime   = field{357, 369}
)

const typeOffset = 156

func (f field) of(b []byte) []byte { return b[f.from:f.to] }

type format int

const (
	formatV7 format = iota
	formatUstar
	formatStar
	formatGNU
)

func formatOf(b []byte) format {
	magic := fMagic.of(b)
	switch {
	case bytes.HasPrefix(magic, []byte("ustar\x00")):
		if string(fTrailer.of(b)) == "tar\x00" {
			return formatStar
		}
		return formatUstar
	case string(magic) == "ustar  \x00":
		return formatGNU
	}
	return formatV7
}

// checksumOK compares the sum of the block with the one it names, whose own
// bytes count as spaces. Historic implementations summed signed bytes.
func checksumOK(b []byte) bool {
	want, ok := parseOctal(fSum.of(b))
	if !ok {
		return false
	}
	sum := sumBytes(b[:blockSize]) + int64(fSum.to-fSum.from)*' ' - sumBytes(fSum.of(b))
	return want == sum || want == sum-256*(negativeBytes(b[:blockSize])-negativeBytes(fSum.of(b)))
}

// sumBytes adds the bytes of b, at most 512 and a multiple of 8. It takes eight
// at a time: in each of four lanes of 16 bits lies the sum of every eighth byte
// and the one after it.
func sumBytes(b []byte) (sum int64) {
	const lanes = 0x00ff00ff00ff00ff
	var acc uint64
	for ; len(b) >= 8; b = b[8:] {
		w := binary.LittleEndian.Uint64(b)
		acc += w&lanes + w>>8&lanes
	}
	for range 4 {
		sum += int64(acc & 0xffff)
		acc >>= 16
	}
	return sum
}

// negativeBytes counts the bytes of b that are negative when signed.
func negativeBytes(b []byte) (n int64) {
	for _, c := range b {
		n += int64(c >> 7)
	}
	return n
}

// parseBlock fills h from a header block and returns the field at fault, if
// any.
func (h *Header) parseBlock(b []byte) string {
	xattrs, sparse := h.Xattrs[:0], h.Sparse[:0]
	*h = Header{Xattrs: xattrs, Sparse: sparse}
	h.Type = b[typeOffset]
	h.Name = cString(fName.of(b))
	h.Linkname = cString(fLink.of(b))
	form := formatOf(b)
	p := numbers{block: b}
	h.Size = p.get("size", fSize)
	h.Mode = p.get("mode", fMode)
	h.UID = p.get("uid", fUID)
	h.GID = p.get("gid", fGID)
	h.ModTime.Sec = p.get("mtime", fMtime)
	if form != formatV7 {
		h.Major = p.get("devmajor", fMajor)
		h.Minor = p.get("devminor", fMinor)
	}
	switch form {
	case formatUstar:
		h.addPrefix(cString(fPrefix.of(b)))
	case formatStar:
		h.addPrefix(cString(fStarPrefix.of(b)))
		h.AccessTime.Sec, h.HasAtime = p.get("atime", fStarAtime), true
		p.get("ctime", fStarCtime)
	case formatGNU:
		h.parseGNU(b)
	}
	return p.bad
}

// parseGNU reads the access time, which GNU tar writes for incremental
// archives only. Go's archive/tar once wrote a ustar prefix there.
func (h *Header) parseGNU(b []byte) {
	p := numbers{block: b}
	var atime int64
	var has bool
	if fGNUAtime.of(b)[0] != 0 {
		atime, has = p.get("atime", fGNUAtime), true
	}
	if fGNUCtime.of(b)[0] != 0 {
		p.get("ctime", fGNUCtime)
	}
	if p.bad == "" {
		h.AccessTime.Sec, h.HasAtime = atime, has
		return
	}
	prefix := cString(fPrefix.of(b))
	if strings.IndexFunc(prefix, func(r rune) bool { return r >= 0x80 }) < 0 {
		h.addPrefix(prefix)
	}
}

func (h *Header) addPrefix(prefix string) {
	if prefix != "" {
		h.Name = prefix + "/" + h.Name
	}
}

// numbers parses fields of a block and remembers the first bad one.
type numbers struct {
	block []byte
	bad   string
}

func (p *numbers) get(name string, f field) int64 {
	v, ok := parseNumber(f.of(p.block))
	if !ok && p.bad == "" {
		p.bad = name
	}
	return v
}

// cString returns the bytes before the first NUL.
func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// parseNumber reads octal digits or GNU's base-256: the first bit set, the
// rest a big-endian two's complement number.
func parseNumber(b []byte) (int64, bool) {
	if b[0]&0x80 == 0 {
		return parseOctal(b)
	}
	var inv byte
	if b[0]&0x40 != 0 {
		inv = 0xff
	}
	var v uint64
	for i, c := range b {
		c ^= inv
		if i == 0 {
			c &= 0x7f
		}
		if v>>56 > 0 {
			return 0, false
		}
		v = v<<8 | uint64(c)
	}
	if v>>63 > 0 {
		return 0, false
	}
	if inv != 0 {
		return ^int64(v), true
	}
	return int64(v), true
}

// parseOctal reads octal digits with spaces and NULs around them.
func parseOctal(b []byte) (int64, bool) {
	// As all writers of today have it: digits up to a NUL.
	if v, n := leadingOctal(b); n > 0 && n < len(b) && b[n] == 0 {
		return v, true
	}
	if len(b) == 8 && binary.LittleEndian.Uint64(b) == 0 {
		return 0, true // a device number that is left out
	}
	b = bytes.Trim(b, " \x00")
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	if len(b) == 0 {
		return 0, true
	}
	var v uint64
	for _, c := range b {
		if c < '0' || c > '7' || v>>60 > 0 {
			return 0, false
		}
		v = v<<3 | uint64(c-'0')
	}
	return int64(v), true
}

// leadingOctal reads the n octal digits that b begins with, up to 16 of them. It
// takes eight at a time: in their upper five bits digits are like '0', and the
// others are put together two by two.
func leadingOctal(b []byte) (v int64, n int) {
	const zeros, upper = 0x3030303030303030, 0xf8f8f8f8f8f8f8f8
	for len(b)-n >= 8 && n < 16 {
		w := binary.LittleEndian.Uint64(b[n:]) ^ zeros
		digits := bits.TrailingZeros64(w&upper) / 8 // the first is the lowest byte
		w <<= 64 - 8*digits                         // zeros before it change nothing
		w = (w<<3 | w>>8) & 0x003f003f003f003f
		w = (w<<6 | w>>16) & 0x00000fff00000fff
		w = (w<<12 | w>>32) & 0xffffff
		v, n = v<<(3*digits)|int64(w), n+digits
		if digits < 8 {
			return v, n
		}
	}
	for ; n < min(len(b), 16) && b[n]&^7 == '0'; n++ {
		v = v<<3 | int64(b[n]&7)
	}
	return v, n
}

// parseDecimal reads a decimal number as PAX records and sparse maps hold it.
func parseDecimal(s string) (int64, bool) {
	v, err := strconv.ParseInt(s, 10, 64)
	return v, err == nil
}
