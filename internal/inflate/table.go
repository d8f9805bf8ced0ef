package inflate

import "math/bits"

// Widths of the tables that are looked at first, in bits. Longer codes have a
// second table behind the first. With these widths, at most 2342 and 402
// entries are in use, for any set of code lengths.
const (
	litBits  = 11
	distBits = 8
	litSize  = 4096 // powers of two, so that a mask proves an index
	distSize = 512
	maxBits  = 15 // longest code

	litMask  = 1<<litBits - 1
	distMask = 1<<distBits - 1
)

// An entry of a table:
//
//	bits 0–4    how many bits to drop, extra bits included
//	bits 8–11   the length of the code (in this table); of a link, the width
//	            of the second table
//	bits 12–14  flags, for all that is neither a literal nor a length or distance
//	bits 16–30  the literal, or the base of the length or distance; of a link,
//	            where the second table begins
//	bit 31      a literal
const (
	flagLiteral = 1 << 31
	flagOther   = 1 << 14 // link, end of block or no code at all
	flagLink    = 1 << 13
	flagEnd     = 1 << 12
	countMask   = 31
)

// Lengths and distances (RFC 1951, 3.2.5): base, and number of extra bits.
var (
	lengthBase = [29]uint32{
		3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31,
		35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258,
	}
	lengthExtra = [29]uint32{
		0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2,
		3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0,
	}
	distBase = [30]uint32{
		1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193,
		257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577,
	}
	distExtra = [30]uint32{
		0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6,
		7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13,
	}
)

// litEntry is the entry of a literal or length symbol with a code of n bits.
func litEntry(symbol int, n uint32) uint32 {
	switch {
	case symbol < 256:
		return flagLiteral | uint32(symbol)<<16 | litBits<<8 | n
	case symbol == 256:
		return flagOther | flagEnd | n<<8 | n
	case symbol-257 < len(lengthBase):
		i := symbol - 257
		return lengthBase[i]<<16 | n<<8 | (n + lengthExtra[i])
	}
	return flagOther | n // 286 and 287 take part in the fixed code and mean nothing
}

// distEntry is the entry of a distance symbol.
func distEntry(symbol int, n uint32) uint32 {
	if symbol < len(distBase) {
		return distBase[symbol]<<16 | n<<8 | (n + distExtra[symbol])
	}
	return flagOther | n
}

// preEntry is the entry of a symbol of the code for code lengths.
func preEntry(symbol int, n uint32) uint32 { return uint32(symbol)<<16 | n<<8 | n }

// build fills table for the canonical code with these lengths (RFC 1951, 3.2.2).
// It reports false for a set of lengths that is no complete code. Like zlib
// and Go it makes two exceptions, for codes that are not or hardly used: no
// code at all, and one code of one bit.
func build(table []uint32, width int, lens []uint8, entry func(symbol int, n uint32) uint32) bool {
	var left [maxBits + 1]int // symbols of each length that are yet to come
	for _, n := range lens {
		left[n&maxBits]++
	}
	left[0] = 0
	longest, space := 0, 0
	var next, at [maxBits + 1]int // next code, and place in order, of each length
	for n := 1; n <= maxBits; n++ {
		next[n] = (next[n-1] + left[n-1]) << 1
		at[n] = at[n-1] + left[n-1]
		space += left[n] << (maxBits - n)
		if left[n] > 0 {
			longest = n
		}
	}
	first := table[:1<<width]
	if space > 1<<maxBits || space < 1<<maxBits && longest > 1 {
		return false
	}
	if space < 1<<maxBits {
		for i := range first {
			first[i] = flagOther
		}
	}
	var order [288]uint16 // symbols by length of code, and so by code
	for symbol, n := range lens {
		if n != 0 {
			order[at[n&maxBits]] = uint16(symbol)
			at[n&maxBits]++
		}
	}
	b := builder{table: table, width: width, longest: longest, left: &left, free: 1 << width, prefix: -1}
	for _, symbol := range order[:at[longest]] {
		n := int(lens[symbol])
		code := int(bits.Reverse16(uint16(next[n])) >> (16 - n))
		next[n]++
		if n > width {
			b.long(code, n, entry(int(symbol), uint32(n-width)))
		} else {
			e := entry(int(symbol), uint32(n))
			for i := code; i < len(first); i += 1 << n {
				first[i] = e
			}
		}
		left[n]--
	}
	return true
}

// builder places the codes that are longer than the first table is wide.
type builder struct {
	table   []uint32
	width   int
	longest int
	left    *[maxBits + 1]int
	free    int      // where the next second table begins
	prefix  int      // first bits of the codes of the table under second
	second  []uint32 // table for these codes
}

// long adds a code of n bits, the first of them in the lowest bit. Codes come in
// order, so that those with the same first bits come one after the other.
func (b *builder) long(code, n int, e uint32) {
	if prefix := code & (1<<b.width - 1); prefix != b.prefix {
		width := n - b.width
		room := 1 << width
		for width+b.width < b.longest {
			if room -= b.left[width+b.width]; room <= 0 {
				break
			}
			width++
			room <<= 1
		}
		b.prefix, b.second = prefix, b.table[b.free:b.free+1<<width]
		b.table[prefix] = flagOther | flagLink | uint32(b.free)<<16 | uint32(width)<<8 | uint32(b.width)
		b.free += 1 << width
	}
	for i := code >> b.width; i < len(b.second); i += 1 << (n - b.width) {
		b.second[i] = e
	}
}
