package inflate

import (
	"math/bits"
	"unsafe"
)

// Widths of the tables that are looked at first, in bits. Longer codes have a
// second table behind the first. With these widths, at most 1334 and 402
// entries are in use, for any set of code lengths. Wider ones would make the loop
// wait for memory: with these, what is in use stays in the first cache.
const (
	litBits  = 10
	distBits = 8
	preBits  = 7
	litSize  = 2048 // powers of two, so that a mask proves an index
	distSize = 512
	maxBits  = 15 // longest code

	litMask  = 1<<litBits - 1
	distMask = 1<<distBits - 1
)

// An entry of a table:
//
//	bits 0–5    how many bits to drop, extra bits included
//	bit 7       left to symbol: a link in dist, the end of the block, or no code
//	bits 8–15   how wide the table to look at next is, in bits
//	bits 16–31  where that table begins, in bytes from dist on: 0 after a length
//	bits 32–47  the literal, or the base of the length or distance; of a link,
//	            where the second table begins
//	bits 48–51  the length of the code (in this table); of a link, the width
//	            of the second table
//	bit 54      a link
//	bit 55      the end of the block
//	bit 56      a literal
//
// fastBMI2 takes bits 0–15 for what BEXTR is to do: with bit 7, that finds no bits
// at all. It takes bits 48–55 for a count, of which SHRX looks at the lower six,
// and bits 56–63 for how many bytes to write.
const (
	flagRare    = 1 << 7
	flagLink    = 1 << 54
	flagEnd     = 1 << 55
	flagLiteral = 1 << 56
	flagOther   = flagRare | flagLink // no literal, length or distance
	countMask   = 63

	nextAt = 16 // shifts
	baseAt = 32
	codeAt = 48

	litOffset = uint64(unsafe.Offsetof(Decoder{}.lit) - unsafe.Offsetof(Decoder{}.dist))
	nextLit   = litOffset<<nextAt | litBits<<8
	nextDist  = distBits << 8

	litLink  = flagLink | litOffset<<nextAt | litBits
	distLink = flagLink | flagRare | distBits

	// What is added for each bit of a code, for where a second table begins, and
	// for each bit of its width.
	perBit   = 1<<codeAt | 1
	perEntry = 1<<baseAt | 8<<nextAt
	perWidth = 1<<codeAt | 1<<8
)

// base returns a length or distance without its extra bits; of a link, where the
// second table begins.
func base(e uint64) uint64 { return e >> baseAt & 0xffff }

// value returns the length or distance, whose code and extra bits are the lowest
// ones of hold.
func value(e, hold uint64) int {
	return int(base(e)) + int(hold&(1<<(e&countMask)-1)>>(e>>codeAt&15))
}

// Lengths and distances (RFC 1951, 3.2.5): base, and number of extra bits.
var (
	lengthBase = [29]uint64{
		3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31,
		35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258,
	}
	lengthExtra = [29]uint64{
		0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2,
		3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0,
	}
	distBase = [30]uint64{
		1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193,
		257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577,
	}
	distExtra = [30]uint64{
		0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6,
		7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13,
	}
)

// Entries of all symbols, but for what the code adds.
var (
	litSymbols  = makeLitSymbols()
	distSymbols = makeDistSymbols()
	preSymbols  = makePreSymbols()
)

func makeLitSymbols() (symbols [288]uint64) {
	for i := range symbols {
		switch {
		case i < 256:
			symbols[i] = flagLiteral | uint64(i)<<baseAt | nextLit
		case i == 256:
			symbols[i] = flagEnd | flagRare
		case i-257 < len(lengthBase):
			symbols[i] = lengthBase[i-257]<<baseAt | nextDist | lengthExtra[i-257]
		default: // 286 and 287 take part in the fixed code and mean nothing
			symbols[i] = flagRare
		}
	}
	return symbols
}

func makeDistSymbols() (symbols [32]uint64) {
	for i := range symbols {
		symbols[i] = flagRare
		if i < len(distBase) {
			symbols[i] = distBase[i]<<baseAt | nextLit | distExtra[i]
		}
	}
	return symbols
}

func makePreSymbols() (symbols [19]uint64) {
	for i := range symbols {
		symbols[i] = uint64(i) << baseAt
	}
	return symbols
}

// build fills table for the canonical code with these lengths (RFC 1951, 3.2.2).
// link is what entries of links have in common. It reports false for a set of
// lengths that is no complete code. Like zlib and Go it makes two exceptions, for
// codes that are not or hardly used: no code at all, and one code of one bit.
func build(table []uint64, width int, lens []uint8, symbols []uint64, link uint64) bool {
	var left [maxBits + 1]int // symbols of each length that are yet to come
	for _, n := range lens {
		left[n&maxBits]++
	}
	left[0] = 0
	longest, space := 0, 0
	var at [maxBits + 2]int // place in order of each length
	for n := 1; n <= maxBits; n++ {
		at[n+1] = at[n] + left[n]
		space += left[n] << (maxBits - n)
		if left[n] > 0 {
			longest = n
		}
	}
	if space > 1<<maxBits || space < 1<<maxBits && longest > 1 {
		return false
	}
	if space < 1<<maxBits {
		table[0], table[1] = flagRare, flagRare
	}
	var order [288]uint16 // symbols by length of code, and so by code
	for symbol, n := range lens {
		if n != 0 {
			order[at[n&maxBits]] = uint16(symbol)
			at[n&maxBits]++
		}
	}
	b := builder{table: table, width: width, longest: longest, left: &left, link: link, free: 1 << width, prefix: -1}
	code := 0  // its first bit is the lowest
	known := 0 // codes of the table that are placed already or to be overwritten have so many bits
	for _, symbol := range order[:at[longest]] {
		n := int(lens[symbol])
		if n > width {
			known = b.double(known, width)
			b.long(code, n, symbols[symbol]+uint64(n-width)*perBit)
		} else {
			known = b.double(known, n)
			table[code] = symbols[symbol] + uint64(n)*perBit
		}
		left[n]--
		// The next code: one more, with the carry going down.
		top := 1 << bits.Len(uint(^code)&(1<<n-1)) >> 1
		code = code&(top-1) | top
	}
	b.double(known, width)
	return true
}

// builder places the codes that are longer than the first table is wide.
type builder struct {
	table   []uint64
	width   int
	longest int
	left    *[maxBits + 1]int
	link    uint64
	free    int      // where the next second table begins
	prefix  int      // first bits of the codes of the table under second
	second  []uint64 // table for these codes
}

// double repeats the first 1<<from entries of the table until there are 1<<to.
func (b *builder) double(from, to int) int {
	for ; from < to; from++ {
		copy(b.table[1<<from:], b.table[:1<<from])
	}
	return to
}

// long adds a code of n bits, the first of them in the lowest bit. Codes come in
// order, so that those with the same first bits come one after the other.
func (b *builder) long(code, n int, e uint64) {
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
		b.table[prefix] = b.link + uint64(b.free)*perEntry + uint64(width)*perWidth
		b.free += 1 << width
	}
	for i := code >> b.width; i < len(b.second); i += 1 << (n - b.width) {
		b.second[i] = e
	}
}
