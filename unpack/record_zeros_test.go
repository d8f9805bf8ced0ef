package unpack

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestZeroRun compares with the definition, in bytes with runs of all lengths at
// all places.
func TestZeroRun(t *testing.T) {
	shortest := make([]byte, minZeros)
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 20000 {
		p := make([]byte, r.IntN(300))
		for i := range p {
			p[i] = byte(r.UintN(256))
		}
		for range round % 4 {
			from := r.IntN(len(p) + 1)
			clear(p[from:min(len(p), from+r.IntN(2*minZeros))])
		}
		wantFrom := bytes.Index(p, shortest)
		if wantFrom < 0 {
			wantFrom = len(p)
		}
		wantTo := wantFrom
		for wantTo < len(p) && p[wantTo] == 0 {
			wantTo++
		}
		if from, to := zeroRun(p); from != wantFrom || to != wantTo {
			t.Fatalf("%d to %d, want %d to %d of %x", from, to, wantFrom, wantTo, p)
		}
	}
}
