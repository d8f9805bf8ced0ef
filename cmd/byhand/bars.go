package main

import (
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/byhand/byhand/pull"
)

// bars is for a terminal: a line that stays for each layer that is done, a bar
// for each that is worked on, and one for all of them. So what moves is a few
// lines however many layers there are, and never more than the screen has.
type bars struct {
	mu     sync.Mutex
	out    *mpb.Progress
	layers map[digest.Digest]*layerBar
	total  *mpb.Bar // nil until something happens
	work   work
	meter  meter
	header string
	most   int // bars at a time
}

// layerBar is one layer. The bar's goroutine reads it under its own lock.
type layerBar struct {
	number int
	size   int64
	bar    *mpb.Bar // nil while nothing moves

	mu    sync.Mutex
	work  work
	state string // "" while bytes come in
	meter meter
}

func newBars(w *os.File) *bars {
	return &bars{
		out:    mpb.New(mpb.WithOutput(w), mpb.WithAutoRefresh(), mpb.WithRefreshRate(50*time.Millisecond), mpb.WithWidth(40)),
		layers: map[digest.Digest]*layerBar{},
		most:   room(w),
	}
}

// room is how many bars the terminal has room for, beside the one for all and
// the prompt. One that does not tell its height has 24 lines.
func room(w *os.File) int {
	_, height, err := term.GetSize(int(w.Fd()))
	if err != nil || height <= 0 {
		height = 24
	}
	return max(0, height-3)
}

func (b *bars) plan(img *pull.Image, w work) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.work = w
	b.header = fmt.Sprintf("%s: %s, %s", img.Reference, count(len(img.Layers), "layer"), size(sum(img)))
	for i, l := range img.Layers {
		b.layers[l.Descriptor.Digest] = &layerBar{number: i + 1, size: l.Descriptor.Size, work: w}
	}
}

// begin shows the header and the bar for all, so that a warm pull is silent.
// The caller holds the lock.
func (b *bars) begin() {
	if b.total != nil {
		return
	}
	if b.header != "" {
		_, _ = fmt.Fprintln(b.out, b.header)
	}
	var bytes int64
	for _, lb := range b.layers {
		bytes += lb.size
	}
	b.total = b.out.AddBar(bytes,
		mpb.BarPriority(len(b.layers)+1), // below the others
		mpb.PrependDecorators(decor.Any(wide("total        ", "total"), decor.WCSyncSpaceR)),
		mpb.AppendDecorators(
			decor.Any(amounts, decor.WCSyncSpace),
			decor.Any(func(decor.Statistics) string { return "  " + b.meter.text(b.work) }),
		),
	)
}

func (b *bars) newBar(layer digest.Digest, lb *layerBar) *mpb.Bar {
	name := fmt.Sprintf("layer %d", lb.number)
	return b.out.AddBar(lb.size,
		mpb.BarPriority(lb.number),
		mpb.PrependDecorators(decor.Any(wide(name+" "+short(layer), name), decor.WCSyncSpaceR)),
		mpb.AppendDecorators(
			decor.Any(amounts, decor.WCSyncSpace),
			decor.Any(func(decor.Statistics) string { return "  " + lb.text() }),
		),
	)
}

// wide chooses the text that the terminal has room for.
func wide(long, narrow string) func(decor.Statistics) string {
	return func(s decor.Statistics) string {
		if s.AvailableWidth < 60 {
			return narrow
		}
		return long
	}
}

func amounts(s decor.Statistics) string {
	if s.AvailableWidth < 40 {
		return size(s.Current)
	}
	return size(s.Current) + " / " + size(s.Total)
}

func (lb *layerBar) text() string {
	lb.mu.Lock()
	defer lb.mu.Unlock()
	if lb.state != "" {
		return lb.state
	}
	return lb.meter.rateText(lb.work)
}

func (b *bars) fetched(layer digest.Digest, bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	lb := b.layers[layer]
	if lb == nil {
		return
	}
	b.begin()
	if lb.bar == nil && b.moving() < b.most {
		lb.bar = b.newBar(layer, lb)
	}
	lb.mu.Lock()
	lb.state = ""
	if bytes >= lb.size {
		lb.state = lb.work.there()
	}
	lb.meter.set(bytes, lb.size)
	lb.mu.Unlock()
	if lb.bar != nil {
		// A bar that is full is finished, and the last byte is not the end.
		lb.bar.SetCurrent(min(bytes, max(0, lb.size-1)))
	}
	b.sum()
}

// moving counts the layers that have a bar.
func (b *bars) moving() (n int) {
	for _, lb := range b.layers {
		if lb.bar != nil {
			n++
		}
	}
	return n
}

// sum brings the bar for all up to date.
func (b *bars) sum() {
	var got, all int64
	for _, lb := range b.layers {
		lb.mu.Lock()
		got += lb.meter.got
		lb.mu.Unlock()
		all += lb.size
	}
	b.meter.set(got, all)
	b.total.SetCurrent(min(got, max(0, all-1)))
}

func (b *bars) checked(layer digest.Digest) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if lb := b.layers[layer]; lb != nil {
		lb.stop()
	}
}

// stop takes the bar away.
func (lb *layerBar) stop() {
	if lb.bar != nil {
		lb.bar.Abort(true)
		lb.bar = nil
	}
}

func (b *bars) done(layer digest.Digest, state string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	lb := b.layers[layer]
	if lb == nil {
		return
	}
	lb.stop()
	lb.mu.Lock()
	again := lb.state == state
	lb.state = state
	lb.meter.set(lb.size, lb.size)
	lb.mu.Unlock()
	if unprinted(state) || again {
		return
	}
	b.begin()
	_, _ = fmt.Fprintln(b.out, doneLine(lb.number, layer, lb.size, state))
	b.sum()
}

func (b *bars) say(line string) { _, _ = fmt.Fprintln(b.out, line) }

func (b *bars) close() {
	b.mu.Lock()
	for _, lb := range b.layers {
		lb.stop()
	}
	if b.total != nil {
		b.total.Abort(true)
	}
	b.mu.Unlock()
	b.out.Wait()
}
