package pull

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestStreamsTogether has streams of all kinds share their hashers, each with a
// transfer and a reader that stop now and then; some are damaged, cut, or given
// up, and one is not read until the others have ended. Each one's verdict is its
// own, whoever computed its digests, and nothing is left under way.
func TestStreamsTogether(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 22))
	for round, limit := range []int{1, 2, 4, 16} {
		h, pool := newHashers(), newBlockPool()
		h.limit = limit
		var group sync.WaitGroup
		stalled := startTrial(t, h, pool, trialOf(t, r, 0))
		for i := range 6 {
			group.Go(startTrial(t, h, pool, trialOf(t, r, round+i)).run)
		}
		group.Wait()
		stalled.run()
		checkIdle(t, h)
		h.mu.Lock()
		if h.workers > limit {
			t.Errorf("%d workers, limit %d", h.workers, limit)
		}
		h.mu.Unlock()
	}
}

type fate int

const (
	whole fate = iota
	damaged
	short
	wrongDiffID
	givenUp
	fates
)

// trial is one stream, and how it is to end.
type trial struct {
	t      *testing.T
	fate   fate
	want   []byte
	stream *stream
	r      *rand.Rand
}

// trialOf makes the content of a stream, and what becomes of it.
func trialOf(t *testing.T, r *rand.Rand, kind int) *trial {
	t.Helper()
	tr := &trial{t: t, fate: fate(r.IntN(int(fates))), r: rand.New(rand.NewPCG(r.Uint64(), 1))}
	if kind == 0 {
		tr.fate = whole
	}
	tr.want = make([]byte, blockSize*(outBlocks+1)+r.IntN(1_000_000))
	noise := rand.NewChaCha8([32]byte{byte(kind)})
	for i := 0; i < len(tr.want); { // noise, text, zeros
		part := tr.want[i:min(i+1+r.IntN(300_000), len(tr.want))]
		switch r.IntN(3) {
		case 0:
			_, _ = noise.Read(part)
		case 1:
			_, _ = noise.Read(part[:len(part)/2])
			hex.Encode(part, bytes.Clone(part[:len(part)/2]))
		}
		i += len(part)
	}
	packed := pack(t, tr.want, kind)
	desc := ocispec.Descriptor{Digest: digest.FromBytes(packed), Size: int64(len(packed))}
	diffID := digest.FromBytes(tr.want)
	switch tr.fate {
	case damaged:
		packed[r.IntN(len(packed))] ^= 1
	case short:
		packed = packed[:r.IntN(len(packed))]
	case wrongDiffID:
		diffID = digest.FromString("another")
	}
	tr.stream = &stream{
		object: "layer", desc: desc, diffID: diffID, limits: Limits{}.withDefaults(),
		body:   io.NopCloser(&halting{r: rand.New(rand.NewPCG(r.Uint64(), 2)), from: bytes.NewReader(packed)}),
		notify: func(Event) {}, warn: func(string) {}, reject: func() {},
	}
	return tr
}

func pack(t *testing.T, data []byte, kind int) []byte {
	t.Helper()
	var packed bytes.Buffer
	var w io.WriteCloser
	var err error
	switch kind % 6 {
	case 4:
		w, err = zstd.NewWriter(&packed, zstd.WithEncoderConcurrency(1))
	case 5:
		return bytes.Clone(data)
	default:
		w, err = gzip.NewWriterLevel(&packed, []int{1, 0, -2, 6}[kind%6])
	}
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

func startTrial(t *testing.T, h *hashers, pool *blockPool, tr *trial) *trial {
	t.Helper()
	tr.stream.start(t.Context(), pool, h)
	return tr
}

// run reads the stream to its end and looks at the verdict.
func (tr *trial) run() {
	defer func() { _ = tr.stream.Close() }()
	watch := time.AfterFunc(2*time.Minute, func() { panic("a stream does not end") })
	defer watch.Stop()
	got := 0
	stop := -1
	if tr.fate == givenUp {
		stop = tr.r.IntN(len(tr.want))
	}
	for {
		chunk, err := tr.stream.NextChunk()
		if err != nil {
			tr.verdict(err, got)
			return
		}
		if tr.fate < damaged && !bytes.Equal(chunk, tr.want[got:got+len(chunk)]) {
			tr.t.Error("the content is wrong")
		}
		got += len(chunk)
		if stop >= 0 && got >= stop {
			tr.stream.cancel(context.Canceled)
			return
		}
		halt(tr.r)
	}
}

func (tr *trial) verdict(err error, got int) {
	var mismatch *DigestError
	var size *SizeError
	ok := false
	switch tr.fate {
	case whole:
		ok = ended(err) && got == len(tr.want)
	case damaged:
		ok = errors.As(err, &mismatch) && mismatch.Want == tr.stream.desc.Digest
	case short:
		ok = errors.As(err, &size)
	case wrongDiffID:
		ok = errors.As(err, &mismatch) && mismatch.Got == digest.FromBytes(tr.want)
	}
	if !ok {
		tr.t.Errorf("fate %d: %d of %d bytes, error %v", tr.fate, got, len(tr.want), err)
	}
}

// halting is a transfer that comes in pieces, and stops now and then.
type halting struct {
	r    *rand.Rand
	from io.Reader
}

func (h *halting) Read(p []byte) (int, error) {
	halt(h.r)
	return h.from.Read(p[:min(len(p), 1+h.r.IntN(200_000))])
}

// halt waits for a moment, now and then.
func halt(r *rand.Rand) {
	switch r.IntN(12) {
	case 0:
		time.Sleep(time.Duration(r.IntN(2000)) * time.Microsecond)
	case 1, 2:
		runtime.Gosched()
	}
}
