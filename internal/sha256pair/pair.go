package sha256pair

import (
	"bytes"
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"hash"
	"sync"
)

// BlockSize is how many bytes SHA-256 takes at a time.
const BlockSize = 64

const stateSize = 8 // words

// A hash's state as crypto/sha256 marshals it: four bytes of magic, the words of
// the state, big-endian, a block that is not full yet, the number of bytes so
// far.
const (
	stateAt       = 4
	pendingAt     = stateAt + 4*stateSize
	countAt       = pendingAt + BlockSize
	marshaledSize = countAt + 8
)

// Write adds p to a and q to b, hashes of sha256.New. The result is always that
// of two calls of their Write; it comes sooner if both have whole blocks to
// take and the processor has SHA instructions.
func Write(a, b hash.Hash, p, q []byte) {
	if n := min(len(p), len(q)) / BlockSize; n > 0 && Available() && pair(a, b, p, q, n) {
		p, q = p[n*BlockSize:], q[n*BlockSize:]
	}
	_, _ = a.Write(p) // a hash.Hash never fails
	_, _ = b.Write(q)
}

// Available says whether Write is faster than two Writes. It has tried out that
// it is right, too.
var Available = sync.OnceValue(func() bool { return hasSHA() && works() })

// works compares Write's way with crypto/sha256. What it guards against is a
// crypto/sha256 that marshals its state in another way than is known here.
func works() bool {
	p, q := bytes.Repeat([]byte("one"), 2*BlockSize), bytes.Repeat([]byte("two"), 2*BlockSize)
	a, b := sha256.New(), sha256.New()
	for range 2 {
		if !pair(a, b, p, q, len(p)/BlockSize) {
			return false
		}
	}
	return sha256.Sum256(append(p, p...)) == [sha256.Size]byte(a.Sum(nil)) &&
		sha256.Sum256(append(q, q...)) == [sha256.Size]byte(b.Sum(nil))
}

// pair hashes n blocks each of p and q. It reports false, and has done nothing,
// if one of the hashes is in the middle of a block.
func pair(a, b hash.Hash, p, q []byte, n int) bool {
	var x, y Lane
	if !x.Load(a) || !y.Load(b) {
		return false
	}
	blocks2(&x.Words, &y.Words, &p[0], &q[0], n, &table)
	return x.Store(a, n) && y.Store(b, n)
}

// Lane is the state of one hash, outside of it.
type Lane struct {
	Words     [stateSize]uint32 // in the order of the processor's instructions
	marshaled [marshaledSize]byte
}

// order is where the instructions have the words A to H.
var order = [stateSize]int{3, 2, 7, 6, 1, 0, 5, 4}

// Load takes the state out of a hash of sha256.New. It reports false if that is
// in the middle of a block, or no such hash.
func (l *Lane) Load(h hash.Hash) bool {
	m, ok := h.(encoding.BinaryAppender)
	if !ok {
		return false
	}
	raw, err := m.AppendBinary(l.marshaled[:0])
	if err != nil || len(raw) != marshaledSize || binary.BigEndian.Uint64(raw[countAt:])%BlockSize != 0 {
		return false
	}
	for i, at := range order {
		l.Words[at] = binary.BigEndian.Uint32(raw[stateAt+4*i:])
	}
	return true
}

// Store puts the state back into the hash that Load had it from, n blocks later.
func (l *Lane) Store(h hash.Hash, n int) bool {
	for i, at := range order {
		binary.BigEndian.PutUint32(l.marshaled[stateAt+4*i:], l.Words[at])
	}
	count := l.marshaled[countAt:]
	binary.BigEndian.PutUint64(count, binary.BigEndian.Uint64(count)+uint64(n)*BlockSize)
	m, ok := h.(encoding.BinaryUnmarshaler)
	return ok && m.UnmarshalBinary(l.marshaled[:]) == nil
}
