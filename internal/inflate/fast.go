package inflate

// fastInput is how many bytes of input a round reads at most.
const fastInput = 16

// fastPortable decodes symbols for as long as neither input nor output is near its end:
// each round reads up to fastInput bytes and writes less than Slack bytes.
//
// After a refill hold counts at least 56 bits. Three literals of the first table
// take at most 30; a length takes 20 with a second table and extra bits, a
// distance 28. So one refill serves up to three literals, or two and the
// length after them, and a second one serves the distance.
func (d *Decoder) fastPortable() state { //nolint:funlen // one loop over registers; calls would spill them for every symbol
	in, pos, hold, n := d.in, d.pos, d.hold, d.n
	out, op, begin, limit := d.out, d.op, d.begin, d.limit
	lit, dist := &d.lit, &d.dist
	s := needMore
	last := len(in) - fastInput
	for pos <= last && op < limit {
		hold |= load64(in, pos) << (n & 63)
		pos += int((63 - n) >> 3)
		n |= 56
		e := lit[hold&litMask]
		if e&flagLiteral != 0 {
			hold >>= e & countMask
			n -= uint(e & countMask)
			out[op] = byte(e >> baseAt)
			op++
			e = lit[hold&litMask]
			if e&flagLiteral != 0 {
				hold >>= e & countMask
				n -= uint(e & countMask)
				out[op] = byte(e >> baseAt)
				op++
				e = lit[hold&litMask]
				if e&flagLiteral != 0 {
					hold >>= e & countMask
					n -= uint(e & countMask)
					out[op] = byte(e >> baseAt)
					op++
					continue
				}
			}
		}
		if e&flagOther != 0 {
			if e&flagLink != 0 {
				hold >>= litBits
				n -= litBits
				e = lit[(base(e)+hold&(1<<(e>>codeAt&15)-1))&(litSize-1)]
				if e&flagLiteral != 0 {
					hold >>= e & countMask
					n -= uint(e & countMask)
					out[op] = byte(e >> baseAt)
					op++
					continue
				}
			}
			if e&flagOther != 0 {
				s = corrupt
				if e&flagEnd != 0 {
					hold >>= e & countMask
					n -= uint(e & countMask)
					s = endOfBlock
				}
				break
			}
		}
		saved := hold
		hold >>= e & countMask
		n -= uint(e & countMask)
		length := value(e, saved)

		hold |= load64(in, pos) << (n & 63)
		pos += int((63 - n) >> 3)
		n |= 56
		e = dist[hold&distMask]
		if e&flagOther != 0 {
			if e&flagLink == 0 {
				s = corrupt
				break
			}
			hold >>= distBits
			n -= distBits
			e = dist[(base(e)+hold&(1<<(e>>codeAt&15)-1))&(distSize-1)]
			if e&flagOther != 0 {
				s = corrupt
				break
			}
		}
		saved = hold
		hold >>= e & countMask
		n -= uint(e & countMask)
		distance := value(e, saved)
		from := op - distance
		if from < begin {
			s = corrupt
			break
		}
		end := op + length
		switch {
		case distance >= 8:
			for ; op < end; op += 8 {
				store64(out, op, load64(out, from))
				from += 8
			}
		case distance == 1:
			v := uint64(out[from]) * 0x0101010101010101
			for ; op < end; op += 8 {
				store64(out, op, v)
			}
		default:
			for ; op < end; op += distance {
				store64(out, op, load64(out, from))
				from += distance
			}
		}
		op = end
	}
	d.pos, d.hold, d.n, d.op = pos, hold, n, op
	return s
}
