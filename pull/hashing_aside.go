package pull

import (
	"hash"

	"github.com/byhand/byhand/internal/inflate"
)

// aside is a decoder that hashes on the side, for its own stream or another. That
// takes the least time of all processors together, but a little more of the
// decoder's, which is the slowest stage. So it does it where processors are scarce,
// or while its reader is behind anyway. A nil one does nothing.
type aside struct {
	hashers *hashers
	decoder *inflate.Decoder
	behind  func() bool // the reader is
	stream  *hashing    // whose block is under way
}

// accompany lets a decoder hash on the side, if it can. When it waits for
// something, or is at its end, pause must be called: the others are not to wait
// for it.
func (h *hashers) accompany(d *inflate.Decoder, behind func() bool) *aside {
	a := &aside{hashers: h, decoder: d, behind: behind}
	if !d.Accompany(a) {
		return nil
	}
	a.resume()
	return a
}

// Work implements inflate.Companion.
func (a *aside) Work() (hash.Hash, []byte) {
	h := a.hashers
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.scarce() || a.behind() {
		a.stream = h.longest()
	}
	if a.stream == nil {
		h.employ(false) // it may have left what nobody else was told of
		return nil, nil
	}
	h.take(a.stream)
	return a.stream.hash, a.stream.current.data
}

// longest returns the stream with the most blocks to hash aside; one that is
// near its end comes first, since others wait for the digest.
func (h *hashers) longest() (longest *hashing) {
	for _, s := range h.waiting {
		switch {
		case !s.pairs:
		case longest == nil, s.ended && !longest.ended, s.ended == longest.ended && len(s.blocks) > len(longest.blocks):
			longest = s
		}
	}
	return longest
}

// Done implements inflate.Companion.
func (a *aside) Done() {
	a.stream.current.release()
	a.hashers.giveBack(a.stream)
	a.stream = nil
}

// pause finishes what is under way and leaves the rest to others.
func (a *aside) pause() {
	if a == nil {
		return
	}
	a.decoder.Pause()
	h := a.hashers
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asides--
	h.employ(false)
}

// resume ends a pause.
func (a *aside) resume() {
	if a == nil {
		return
	}
	a.hashers.mu.Lock()
	defer a.hashers.mu.Unlock()
	a.hashers.asides++
}
