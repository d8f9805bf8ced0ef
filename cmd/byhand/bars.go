package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/byhand/byhand/pull"
)

// bars draws a bar a layer on a terminal.
type bars struct {
	mu     sync.Mutex
	out    *mpb.Progress
	layers map[digest.Digest]*layerBar
	plans  map[digest.Digest]plannedLayer
	header string
}

// plannedLayer is what is known of a layer before it has a bar.
type plannedLayer struct {
	number int
	size   int64
}

type layerBar struct {
	bar   *mpb.Bar
	size  int64
	mu    sync.Mutex
	state string
	got   int64
	start time.Time
}

func newBars(w io.Writer) *bars {
	return &bars{
		out:    mpb.New(mpb.WithOutput(w), mpb.WithAutoRefresh(), mpb.WithWidth(40)),
		layers: map[digest.Digest]*layerBar{},
		plans:  map[digest.Digest]plannedLayer{},
	}
}

func (b *bars) plan(img *pull.Image) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.header = fmt.Sprintf("%s: %s, %s", img.Reference, count(len(img.Layers), "layer"), size(sum(img)))
	for i, l := range img.Layers {
		b.plans[l.Descriptor.Digest] = plannedLayer{number: i + 1, size: l.Descriptor.Size}
	}
}

// get returns the layer's bar, made when something happens to the layer: what
// is there already needs none.
func (b *bars) get(layer digest.Digest) *layerBar {
	b.mu.Lock()
	defer b.mu.Unlock()
	lb := b.layers[layer]
	p, planned := b.plans[layer]
	if lb != nil || !planned {
		return lb
	}
	if b.header != "" {
		_, _ = fmt.Fprintln(b.out, b.header)
		b.header = ""
	}
	lb = b.newBar(layer, p)
	b.layers[layer] = lb
	return lb
}

func (b *bars) newBar(layer digest.Digest, p plannedLayer) *layerBar {
	lb := &layerBar{state: "waiting", size: p.size}
	lb.bar = b.out.AddBar(p.size,
		mpb.BarPriority(p.number),
		mpb.PrependDecorators(
			decor.Name(fmt.Sprintf("layer %d ", p.number), decor.WCSyncSpaceR),
			decor.Name(short(layer)+" "),
		),
		mpb.AppendDecorators(
			decor.Any(func(s decor.Statistics) string { return size(s.Current) + " / " + size(s.Total) }, decor.WCSyncSpace),
			decor.Name("  "),
			decor.Any(lb.text),
		),
	)
	return lb
}

// text is the layer's state, with the rate while bytes are coming.
func (lb *layerBar) text(decor.Statistics) string {
	lb.mu.Lock()
	defer lb.mu.Unlock()
	if lb.state != stateFetching {
		return lb.state
	}
	if elapsed := time.Since(lb.start); elapsed > time.Second {
		return size(int64(float64(lb.got)/elapsed.Seconds())) + "/s"
	}
	return lb.state
}

func (lb *layerBar) set(state string, got int64) {
	lb.mu.Lock()
	defer lb.mu.Unlock()
	if lb.start.IsZero() {
		lb.start = time.Now()
	}
	lb.state, lb.got = state, got
}

// Of a layer on a terminal: bytes are coming, or have all come.
const (
	stateFetching  = "fetching"
	stateUnpacking = "unpacking"
)

func (b *bars) fetched(layer digest.Digest, bytes int64) {
	lb := b.get(layer)
	if lb == nil {
		return
	}
	state := stateFetching
	if bytes >= lb.size {
		state = stateUnpacking
	}
	lb.set(state, bytes)
	// A bar that is full is finished, and the last byte is not the end.
	lb.bar.SetCurrent(min(bytes, max(0, lb.size-1)))
}

func (b *bars) checked(layer digest.Digest) {
	if lb := b.get(layer); lb != nil {
		lb.set("verified", lb.size)
	}
}

func (b *bars) done(layer digest.Digest, state string) {
	if state == statePresent {
		return
	}
	if lb := b.get(layer); lb != nil {
		lb.set(state, lb.size)
		lb.bar.SetCurrent(lb.size)
	}
}

func (b *bars) say(line string) { _, _ = fmt.Fprintln(b.out, line) }

func (b *bars) close() {
	b.mu.Lock()
	for _, lb := range b.layers {
		lb.bar.Abort(false) // a bar that is complete does not mind
	}
	b.mu.Unlock()
	b.out.Wait()
}
