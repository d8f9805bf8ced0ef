package inflate

import (
	"encoding/binary"
	"errors"
	"io"
)

// HistorySize is deflate's window: how far back a match reaches, in bytes.
const HistorySize = 32 << 10

// Slack is how many bytes a buffer needs beyond what is flushed of it: the
// longest match, two literals, and what the copying of a match writes too much.
const Slack = 512

// ErrCorrupt reports data that is not deflate or gzip. Data that ends too early
// is io.ErrUnexpectedEOF.
var ErrCorrupt = errors.New("decode deflate: corrupt data")

// A Source delivers compressed chunks, of any sizes; nil is the end. A chunk
// is in use until the next call.
type Source interface {
	Next() []byte
}

// A Sink takes what was decoded. There is one size N for all of its buffers.
type Sink interface {
	// Next returns another buffer, of HistorySize+N+Slack bytes. Its content
	// does not matter.
	Next() ([]byte, error)
	// Flush takes a buffer back, in the order of Next, with new content in
	// buf[HistorySize:HistorySize+n]. n is N, at the end of the stream less.
	// The decoder does not touch buf any more.
	Flush(buf []byte, n int) error
}

// Decoder decodes one stream.
type Decoder struct {
	src  Source
	sink Sink

	in   []byte // chunk of input
	pos  int    // in it, the first byte that is not in hold
	eof  bool
	hold uint64 // bits that were taken from in, first one lowest
	n    uint   // how many of them count

	out   []byte // buffer of output
	op    int    // where the next byte goes
	begin int    // first byte of the window
	limit int    // flush when op is here

	companion Companion // nil: none
	side      sideHash  // of its work, what is under way

	portable bool // do without assembly
	fixed    bool // the tables are those of the fixed code
	length   int  // of a match whose distance fast has left due, or 0
	due      int  // where in lit the entry lies that fast has left due
	lens     [288 + 32]uint8
	pre      [1 << preBits]uint64
	dist     [distSize]uint64
	lit      [litSize]uint64
}

// NewDecoder returns a decoder from src to sink.
func NewDecoder(src Source, sink Sink) *Decoder {
	return &Decoder{src: src, sink: sink}
}

// start gets the first buffer.
func (d *Decoder) start() error {
	out, err := d.sink.Next()
	if err != nil {
		return err
	}
	d.out, d.op, d.begin, d.limit = out, HistorySize, HistorySize, len(out)-Slack
	return nil
}

// flush hands on a full buffer and takes over its end into the next one: the
// window, and what was written beyond the limit.
func (d *Decoder) flush() error {
	next, err := d.sink.Next()
	if err != nil {
		return err
	}
	copy(next, d.out[d.limit-HistorySize:d.op])
	if err := d.sink.Flush(d.out, d.limit-HistorySize); err != nil {
		return err
	}
	moved := d.limit - HistorySize
	d.out, d.op, d.begin = next, d.op-moved, max(0, d.begin-moved)
	return nil
}

// finish hands on what is left.
func (d *Decoder) finish() error {
	if d.op > d.limit {
		if err := d.flush(); err != nil {
			return err
		}
	}
	return d.sink.Flush(d.out, d.op-HistorySize)
}

// more gets the next chunk of input.
func (d *Decoder) more() bool {
	for d.pos >= len(d.in) && !d.eof {
		d.keepUp()
		d.in, d.pos = d.src.Next(), 0
		d.eof = d.in == nil
	}
	return d.pos < len(d.in)
}

// fill makes hold contain at least n bits, n ≤ 56, or all that are left.
func (d *Decoder) fill(n uint) {
	d.hold &= 1<<d.n - 1
	if len(d.in)-d.pos >= 8 {
		d.hold |= load64(d.in, d.pos) << d.n
		more := (63 - d.n) >> 3
		d.pos += int(more)
		d.n += 8 * more
		return
	}
	for d.n < n && (d.pos < len(d.in) || d.more()) {
		d.hold |= uint64(d.in[d.pos]) << d.n
		d.pos++
		d.n += 8
	}
}

// drop takes n bits that are in hold.
func (d *Decoder) drop(n uint) {
	d.hold >>= n & 63
	d.n -= n
}

// bits reads n bits, n ≤ 32.
func (d *Decoder) bits(n uint) (uint32, error) {
	if d.n < n {
		if d.fill(n); d.n < n {
			return 0, io.ErrUnexpectedEOF
		}
	}
	v := uint32(d.hold & (1<<n - 1))
	d.drop(n)
	return v, nil
}

// inflate decodes one deflate stream.
func (d *Decoder) inflate() error {
	d.begin = d.op
	for {
		h, err := d.bits(3)
		if err != nil {
			return err
		}
		switch h >> 1 {
		case 0:
			err = d.stored()
		case 1:
			d.fixedCode()
			err = d.symbols()
		case 2:
			if err = d.dynamicCode(); err == nil {
				err = d.symbols()
			}
		default:
			err = ErrCorrupt
		}
		if err != nil {
			return err
		}
		if h&1 != 0 {
			return nil
		}
	}
}

// stored copies a block without compression (RFC 1951, 3.2.4).
func (d *Decoder) stored() error {
	d.drop(d.n & 7)
	v, err := d.bits(32)
	if err != nil {
		return err
	}
	n := int(v & 0xffff)
	if n != int(^v>>16) {
		return ErrCorrupt
	}
	for ; n > 0 && d.n > 0; n-- { // whole bytes that are in hold
		if d.op >= d.limit {
			if err := d.flush(); err != nil {
				return err
			}
		}
		d.out[d.op] = byte(d.hold)
		d.op++
		d.drop(8)
	}
	if n > 0 {
		d.hold = 0 // it may hold more than counts
	}
	for n > 0 {
		if d.op >= d.limit {
			if err := d.flush(); err != nil {
				return err
			}
		}
		if !d.more() {
			return io.ErrUnexpectedEOF
		}
		k := copy(d.out[d.op:d.limit], d.in[d.pos:min(len(d.in), d.pos+n)])
		d.op += k
		d.pos += k
		n -= k
	}
	return nil
}

// fixedCode makes the tables of the fixed code (RFC 1951, 3.2.6).
func (d *Decoder) fixedCode() {
	if d.fixed {
		return
	}
	lens := d.lens[:288]
	for i := range lens {
		switch {
		case i < 144, i >= 280:
			lens[i] = 8
		case i < 256:
			lens[i] = 9
		default:
			lens[i] = 7
		}
	}
	build(d.lit[:], litBits, lens, litSymbols[:], litLink)
	lens = d.lens[:32]
	for i := range lens {
		lens[i] = 5
	}
	build(d.dist[:], distBits, lens, distSymbols[:], distLink)
	d.fixed = true
}

// lensOrder is the order in which the lengths of the code for code lengths come.
var lensOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// dynamicCode reads the codes of a block (RFC 1951, 3.2.7).
func (d *Decoder) dynamicCode() error {
	d.fixed = false
	v, err := d.bits(14)
	if err != nil {
		return err
	}
	nlit, ndist, npre := int(v&31)+257, int(v>>5&31)+1, int(v>>10)+4
	if nlit > 286 || ndist > 30 {
		return ErrCorrupt
	}
	var pre [19]uint8
	for _, i := range lensOrder[:npre] {
		v, err := d.bits(3)
		if err != nil {
			return err
		}
		pre[i] = uint8(v)
	}
	if !build(d.pre[:], preBits, pre[:], preSymbols[:], 0) {
		return ErrCorrupt
	}
	lens := d.lens[:nlit+ndist]
	if err := d.readLens(lens); err != nil {
		return err
	}
	if !build(d.lit[:], litBits, lens[:nlit], litSymbols[:], litLink) || !build(d.dist[:], distBits, lens[nlit:], distSymbols[:], distLink) {
		return ErrCorrupt
	}
	return nil
}

// readLens reads run-length coded code lengths.
func (d *Decoder) readLens(lens []uint8) error {
	for i := 0; i < len(lens); {
		d.fill(14)
		e := d.pre[d.hold&(1<<preBits-1)]
		n := uint(e & countMask)
		switch {
		case e&flagOther != 0 && d.n > 0:
			return ErrCorrupt
		case n > d.n || d.n == 0:
			return io.ErrUnexpectedEOF
		}
		d.drop(n)
		symbol := uint8(e >> baseAt)
		if symbol < 16 {
			lens[i] = symbol
			i++
			continue
		}
		base, extra, value := 11, uint(7), uint8(0)
		switch symbol {
		case 16:
			if i == 0 {
				return ErrCorrupt
			}
			base, extra, value = 3, 2, lens[i-1]
		case 17:
			base, extra = 3, 3
		}
		v, err := d.bits(extra)
		if err != nil {
			return err
		}
		run := base + int(v)
		if i+run > len(lens) {
			return ErrCorrupt
		}
		for range run {
			lens[i] = value
			i++
		}
	}
	return nil
}

// state is why a run of symbols ended.
type state int

const (
	needMore   state = iota // of input, or of room for output
	endOfBlock              // all is well
	corrupt
)

// symbols decodes the symbols of a block.
func (d *Decoder) symbols() error {
	for {
		s := d.fast()
		if s == needMore && d.op >= d.limit {
			if err := d.flush(); err != nil {
				return err
			}
		}
		if s == needMore {
			var err error
			if s, err = d.symbol(); err != nil {
				return err
			}
		}
		switch s {
		case endOfBlock:
			return nil
		case corrupt:
			return ErrCorrupt
		}
	}
}

// look finds the entry for the bits in hold, of which d.n count. Those that are
// missing read as zeros.
func (d *Decoder) look(table []uint64, width uint) (e uint64, used uint) {
	e = table[d.hold&(1<<width-1)]
	if e&flagLink != 0 {
		e = table[base(e)+d.hold>>width&(1<<(e>>codeAt&15)-1)]
		used = width
	}
	return e, used
}

// symbol decodes one literal or match wherever the input ends, or the rest of one
// that fast began. It is what happens at the borders of chunks, and what fast
// does at length.
func (d *Decoder) symbol() (state, error) {
	d.fill(48)
	length, due := d.length, d.due
	d.length, d.due = 0, 0
	if length > 0 {
		return d.match(length)
	}
	e, used := d.look(d.lit[:], litBits)
	if due > litMask { // the link to it is dropped already
		e, used = d.lit[due], 0
	}
	code := uint(e >> codeAt & 15)
	if used+code > d.n || d.n == 0 {
		return corrupt, io.ErrUnexpectedEOF
	}
	switch {
	case e&flagLiteral != 0:
		d.drop(used + code)
		d.out[d.op] = byte(e >> baseAt)
		d.op++
		return needMore, nil
	case e&flagEnd != 0:
		d.drop(used + code)
		return endOfBlock, nil
	case e&flagOther != 0:
		return corrupt, nil
	}
	length, err := d.extra(e, used)
	if err != nil {
		return corrupt, err
	}
	return d.match(length)
}

// match decodes the distance of a match and copies it.
func (d *Decoder) match(length int) (state, error) {
	e, used := d.look(d.dist[:], distBits)
	if e&flagOther != 0 && d.n > 0 {
		return corrupt, nil
	}
	distance, err := d.extra(e, used)
	if err != nil {
		return corrupt, err
	}
	if distance > d.op-d.begin {
		return corrupt, nil
	}
	for range length {
		d.out[d.op] = d.out[d.op-distance]
		d.op++
	}
	return needMore, nil
}

// extra drops the code of e, of which used bits led to a second table, and
// returns the length or distance with its extra bits.
func (d *Decoder) extra(e uint64, used uint) (int, error) {
	n := uint(e & countMask)
	if used+n > d.n || d.n == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	d.drop(used)
	v := value(e, d.hold)
	d.drop(n)
	return v, nil
}

func load64(b []byte, i int) uint64     { return binary.LittleEndian.Uint64(b[i:]) }
func store64(b []byte, i int, v uint64) { binary.LittleEndian.PutUint64(b[i:], v) }
