package tarstream

import (
	"bytes"
	"math"
	"strings"
)

// Sparse files come in four forms. Old GNU: type 'S', a map of up to 4
// segments in the header, 21 more in each block that follows. PAX 0.0 and
// 0.1: the map is in the PAX records. PAX 1.0: the map is text at the
// beginning of the content. See the GNU tar manual, "Storing Sparse Files".

var fRealSize = field{483, 495}

const (
	oldMapOffset   = 386
	oldMapEntries  = 4
	oldMapExtended = 482
	extMapEntries  = 21
	extMapExtended = 504
	mapEntrySize   = 24
)

// readSparse finds out whether the entry is a sparse file and reads its map.
// block is the header block of an old GNU one, else nil.
func (r *Reader) readSparse(block []byte) error {
	h := &r.hdr
	var bad string
	var err error
	if block != nil {
		err = r.readOldMap(block)
	} else if r.pax.set {
		bad, err = r.readPaxMap()
	}
	if err != nil {
		return err
	}
	if bad != "" {
		return r.malformed(bad)
	}
	if !h.IsSparse {
		return nil
	}
	if !h.hasData() || !validMap(h.Sparse, h.Size) {
		return r.malformed("sparse map does not fit the file")
	}
	var sum int64
	for _, s := range h.Sparse {
		sum += s.Length
	}
	if sum != r.left {
		return r.malformed("sparse map and content differ in length")
	}
	return nil
}

func (r *Reader) readOldMap(block []byte) error {
	h := &r.hdr
	if formatOf(block) != formatGNU {
		return r.malformed("sparse file in a header that is not GNU tar's")
	}
	size, ok := parseNumber(fRealSize.of(block))
	if !ok {
		return r.malformed("bad number in field realsize")
	}
	h.Size, h.IsSparse = size, true
	bad := h.addOldEntries(block[oldMapOffset:], oldMapEntries)
	more := block[oldMapExtended] != 0
	for total := int64(0); bad == "" && more; {
		if total += blockSize; total > r.o.HeaderSize {
			return r.tooLong(total)
		}
		ext, err := r.metaBlock()
		if err != nil {
			return err
		}
		bad = h.addOldEntries(ext, extMapEntries)
		more = ext[extMapExtended] != 0
	}
	if bad != "" {
		return r.malformed(bad)
	}
	return nil
}

func (h *Header) addOldEntries(b []byte, n int) string {
	for ; n > 0 && b[0] != 0; n-- {
		offset, ok1 := parseNumber(b[:12])
		length, ok2 := parseNumber(b[12:mapEntrySize])
		if !ok1 || !ok2 {
			return "bad number in the sparse map"
		}
		h.Sparse = append(h.Sparse, Segment{offset, length})
		b = b[mapEntrySize:]
	}
	return ""
}

// readPaxMap reads the map of a PAX form, if the records speak of one.
func (r *Reader) readPaxMap() (bad string, err error) {
	if len(r.pax.sparse) > 0 {
		r.pax.values.set(paxSparseMap, strings.Join(r.pax.sparse, ","))
	}
	h, v := &r.hdr, r.pax.values
	major, minor := v.get(paxSparseMajor), v.get(paxSparseMinor)
	inContent := false
	switch {
	case major == "0" && (minor == "0" || minor == "1"):
	case major == "1" && minor == "0":
		inContent = true
	case major != "" || minor != "", v.get(paxSparseMap) == "":
		return "", nil
	}
	h.IsSparse = true
	if name := v.get(paxSparseName); name != "" {
		if strings.IndexByte(name, 0) >= 0 {
			return "NUL in PAX record " + paxSparseName, nil
		}
		h.Name = name
	}
	size := v.get(paxSparseSize)
	if size == "" {
		size = v.get(paxSparseRealSize)
	}
	if size != "" {
		n, ok := parseDecimal(size)
		if !ok {
			return "PAX record of the sparse file's size is no number", nil
		}
		h.Size = n
	}
	if inContent {
		return r.readMapInContent()
	}
	return h.parseMapRecord(v.get(paxSparseNumBlocks), v.get(paxSparseMap)), nil
}

func (h *Header) parseMapRecord(count, list string) string {
	n, ok := parseDecimal(count)
	var fields []string
	if list != "" {
		fields = strings.Split(list, ",")
	}
	if !ok || n < 0 || n > int64(len(fields)) || 2*n != int64(len(fields)) {
		return "sparse map and its count differ"
	}
	for i := 0; i < len(fields); i += 2 {
		offset, ok1 := parseDecimal(fields[i])
		length, ok2 := parseDecimal(fields[i+1])
		if !ok1 || !ok2 {
			return "bad number in the sparse map"
		}
		h.Sparse = append(h.Sparse, Segment{offset, length})
	}
	return ""
}

// readMapInContent reads the number of segments, then offset and length of
// each, a line for each number, from whole blocks of the content.
func (r *Reader) readMapInContent() (bad string, err error) {
	m := mapText{r: r}
	count, bad, err := m.number()
	if bad != "" || err != nil {
		return bad, err
	}
	// A line has at least two bytes.
	if count < 0 || count > r.o.HeaderSize/4 {
		return "", r.tooLong(count)
	}
	for range count {
		var s Segment
		if s.Offset, bad, err = m.number(); bad == "" && err == nil {
			s.Length, bad, err = m.number()
		}
		if bad != "" || err != nil {
			return bad, err
		}
		r.hdr.Sparse = append(r.hdr.Sparse, s)
	}
	return "", nil
}

// mapText reads lines from blocks of the content.
type mapText struct {
	r     *Reader
	text  []byte
	total int64
}

func (m *mapText) number() (v int64, bad string, err error) {
	i := bytes.IndexByte(m.text, '\n')
	for i < 0 {
		if m.r.left < blockSize {
			return 0, "sparse map is cut off", nil
		}
		if m.total += blockSize; m.total > m.r.o.HeaderSize {
			return 0, "", m.r.tooLong(m.total)
		}
		block, err := m.r.metaBlock()
		if err != nil {
			return 0, "", err
		}
		m.r.left -= blockSize
		m.text = append(m.text, block...)
		i = bytes.IndexByte(m.text, '\n')
	}
	v, ok := parseDecimal(string(m.text[:i]))
	m.text = m.text[i+1:]
	if !ok {
		bad = "bad number in the sparse map"
	}
	return v, bad, nil
}

// validMap says whether the segments ascend, do not overlap and lie within
// size.
func validMap(segs []Segment, size int64) bool {
	if size < 0 {
		return false
	}
	var end int64
	for _, s := range segs {
		if s.Offset < end || s.Length < 0 || s.Offset > math.MaxInt64-s.Length {
			return false
		}
		end = s.Offset + s.Length
	}
	return end <= size
}
