package pull

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/byhand/byhand/internal/inflate"
)

// Sizes of the buffers a layer streams through. 256 KiB keeps the channel
// operations below a thousandth of the work and still fits the caches; the
// counts let each stage run one or two buffers ahead of the next.
const (
	blockSize   = 256 << 10
	historySize = inflate.HistorySize
	inBlocks    = 6 // compressed, per layer: 1.5 MiB
	outBlocks   = 8 // uncompressed, per layer: 2.3 MiB
)

// A block is a buffer that travels from its producer to one or more consumers
// and, when the last of them releases it, back to the ring it came from.
type block struct {
	mem   []byte // historySize + blockSize + inflate.Slack bytes
	data  []byte // the content, inside mem
	fresh int    // how many of the last bytes of it were fetched just now
	refs  atomic.Int32
	home  chan *block
}

// room is where content is put, up to blockSize bytes. Before and behind it is
// what the inflater needs for its own.
func (b *block) room() []byte { return b.mem[historySize : historySize+blockSize] }

func (b *block) release() {
	if b.refs.Add(-1) == 0 {
		b.home <- b // has room for every block of the ring
	}
}

// blockPool recycles blocks between the layers of an image.
type blockPool struct{ pool sync.Pool }

func newBlockPool() *blockPool {
	return &blockPool{pool: sync.Pool{New: func() any {
		return &block{mem: make([]byte, historySize+blockSize+inflate.Slack)}
	}}}
}

// A ring hands out at most limit blocks at a time, which bounds the memory
// and makes a fast producer wait for its consumers. get has one caller.
type ring struct {
	pool  *blockPool
	free  chan *block
	made  int
	limit int

	waited time.Duration // for a free block
	aside  *aside        // told before get waits
}

func newRing(pool *blockPool, limit int) *ring {
	return &ring{pool: pool, free: make(chan *block, limit), limit: limit}
}

// get returns a block that nobody else uses, to be handed to consumers
// consumers. It fails only when ctx is done.
func (r *ring) get(ctx context.Context, consumers int32) (*block, error) {
	b, err := r.take(ctx)
	if err != nil {
		return nil, err
	}
	b.refs.Store(consumers)
	return b, nil
}

func (r *ring) take(ctx context.Context) (*block, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	select {
	case b := <-r.free:
		return b, nil
	default:
	}
	if r.made < r.limit {
		r.made++
		b, _ := r.pool.pool.Get().(*block)
		b.home, b.data = r.free, nil
		return b, nil
	}
	r.aside.pause()
	defer r.aside.resume()
	began := time.Now()
	defer func() { r.waited += time.Since(began) }()
	select {
	case b := <-r.free:
		return b, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// recycle gives the free blocks back to the pool, once no stage runs any more.
func (r *ring) recycle() {
	for {
		select {
		case b := <-r.free:
			b.home, b.data = nil, nil
			r.pool.pool.Put(b)
		default:
			return
		}
	}
}
