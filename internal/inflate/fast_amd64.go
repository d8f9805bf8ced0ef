package inflate

//go:generate sh -c "go run ./genfast > fast_amd64.s.new && mv fast_amd64.s.new fast_amd64.s"

import "golang.org/x/sys/cpu"

// hasBMI2 says whether the processor has what fastBMI2 uses: every server's since
// 2013.
var hasBMI2 = cpu.X86.HasBMI1 && cpu.X86.HasBMI2 && cpu.X86.HasAVX

// fastBMI2 decodes symbols like fastPortable, in assembly, but leaves what is rare
// to symbol: the end of the block, too, and codes that mean nothing. It may
// leave half a match, or half a code, in length and due.
//
//go:noescape
func fastBMI2(d *Decoder, repeats *[16]repeatPattern) state

func (d *Decoder) fast() state {
	if !hasBMI2 || d.portable {
		return d.fastPortable()
	}
	if len(d.in) < fastInput {
		return needMore // there may be no memory at all to compute addresses in
	}
	// What else fastBMI2 relies on, in a form that panics where it is not so.
	_ = d.out[d.limit : d.limit+Slack]
	_ = d.out[d.begin:d.op]
	_ = d.in[d.pos:]
	if d.companion == nil || !d.aside() {
		return fastBMI2(d, &repeats)
	}
	_ = d.side.data[d.side.at:]
	at, phase := d.side.at, d.side.phase
	s := fastAside(d, &repeats, &d.side)
	if d.side.at != at || d.side.phase != phase {
		d.side.idle = -d.pos // the rest of the chunk counts
	}
	if d.side.at == len(d.side.data) {
		d.Pause()
	}
	return s
}

// canAside says whether the processor has what fastAside uses, but for SHA-256.
var canAside = hasBMI2

// fastAside is fastBMI2 that hashes as well, until all data of side is done.
//
//go:noescape
func fastAside(d *Decoder, repeats *[16]repeatPattern, side *sideHash) state

// repeatPattern repeats the first bytes of a 16-byte word.
type repeatPattern struct {
	shuffle [16]uint8 // where each byte comes from
	stride  uint64    // bytes of whole repetitions
	_       uint64
}

// repeats are the patterns by how many bytes repeat. 0 is unused.
var repeats = makeRepeats()

func makeRepeats() (patterns [16]repeatPattern) {
	for n := 1; n < len(patterns); n++ {
		for i := range patterns[n].shuffle {
			patterns[n].shuffle[i] = uint8(i % n)
		}
		patterns[n].stride = uint64(16 - 16%n)
	}
	return patterns
}
