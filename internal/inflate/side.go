package inflate

import (
	"hash"

	"github.com/byhand/byhand/internal/sha256pair"
)

// A Companion has SHA-256 to compute. A decoder can do that on the side: its
// look-ups wait for one another, and so do the rounds of the hash, and the one
// fits into the gaps that the other leaves.
type Companion interface {
	// Work returns a hash of sha256.New, and what to add to it, which is in use
	// until Done is called; or nil if there is nothing to do at the moment.
	Work() (hash.Hash, []byte)
	// Done tells that all of it was added.
	Done()
}

// Accompany makes d do c's work while it decodes. It reports false if the
// processor lacks what that takes. The source and the sink must call Pause before
// they make d wait, lest others wait for the hash.
func (d *Decoder) Accompany(c Companion) bool {
	if !canAside || !sha256pair.Available() {
		return false
	}
	d.companion = c
	return true
}

// Pause finishes the work that is under way.
func (d *Decoder) Pause() {
	if d.side.hash != nil {
		d.side.finish()
		d.companion.Done()
	}
}

// aside gets work if there is none under way, and reports whether there is any
// now.
func (d *Decoder) aside() bool {
	for d.side.hash == nil {
		h, data := d.companion.Work()
		if h == nil {
			return false
		}
		d.side.begin(h, data)
		if len(d.side.data) > 0 {
			break
		}
		d.Pause() // not a block, or the hash is in the middle of one
	}
	return true
}

// patience is how many bytes of input a decoder takes in before it does some work
// although there is nothing to do it beside.
const patience = 64 << 10

// keepUp does some work if fast did none for a while: among stored blocks, behind
// the last member, or in a header without end. Others wait for the hash, and a
// decoder that never waits itself would keep it from them.
func (d *Decoder) keepUp() {
	if d.companion == nil {
		return
	}
	if d.side.idle += len(d.in); d.side.idle < patience {
		return
	}
	d.side.idle = 0
	if d.aside() {
		d.Pause()
	}
}

// sideHash is a hash that is computed aside.
type sideHash struct {
	state   [8]uint32  // within the block
	start   [8]uint32  // before it
	message [16]uint32 //nolint:unused // for the assembly
	phase   int        // how many eighths of the block are done
	data    []byte     // whole blocks
	at      int        // where in data the block is

	hash hash.Hash // nil: nothing is under way
	rest []byte    // less than a block, after data
	lane sha256pair.Lane

	idle int // bytes of input since fast last hashed anything
}

// begin takes on a hash.
func (s *sideHash) begin(h hash.Hash, data []byte) {
	s.hash, s.data, s.rest, s.at, s.phase = h, nil, data, 0, 0
	if s.lane.Load(h) {
		n := len(data) / sha256pair.BlockSize * sha256pair.BlockSize
		s.data, s.rest = data[:n], data[n:]
		s.start, s.state = s.lane.Words, s.lane.Words
	}
}

// finish adds to the hash what was not yet, from the beginning of the block.
func (s *sideHash) finish() {
	if s.at > 0 {
		s.lane.Words = s.start
		s.lane.Store(s.hash, s.at/sha256pair.BlockSize)
	}
	_, _ = s.hash.Write(s.data[s.at:]) // a hash.Hash never fails
	_, _ = s.hash.Write(s.rest)
	s.hash, s.data, s.rest = nil, nil, nil
}
