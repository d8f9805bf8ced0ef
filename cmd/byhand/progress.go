package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/term"

	"github.com/byhand/byhand/internal/human"
	"github.com/byhand/byhand/pull"
)

// progress shows on standard error how a pull goes. Its methods may be
// called from several goroutines.
type progress interface {
	// plan announces the layers of an image, base first, and what becomes of them.
	plan(img *pull.Image, w work)
	// fetched says how many compressed bytes of a layer have arrived.
	fetched(layer digest.Digest, bytes int64)
	// checked says that a layer matched both digests and waits for its turn.
	checked(layer digest.Digest)
	// done says that a layer has reached its last state, such as "unpacked".
	done(layer digest.Digest, state string)
	// say prints a line that must not be lost among moving bars.
	say(line string)
	// close leaves the terminal as it was found.
	close()
}

// work is what a command does with layers.
type work int

const (
	workPull   work = iota // to keep their blobs
	workUnpack             // to make lower dirs of them
	workRead               // to know the tree, as ls does
	workVerify             // what is there already
)

// coming is what a display calls it while a layer's bytes come in.
func (w work) coming() string {
	if w == workVerify {
		return "checking"
	}
	return "fetching"
}

// there is what it is called once all of them are there.
func (w work) there() string {
	switch w {
	case workUnpack:
		return "unpacking"
	case workRead:
		return "reading"
	default:
		return "checking"
	}
}

// statePresent is the state of a layer that nothing had to be done for, and
// stateChecked that of one that verify has a row for. No line is printed for them.
const (
	statePresent = "there already"
	stateChecked = "checked"
)

func unprinted(state string) bool { return state == statePresent || state == stateChecked }

// newProgress chooses by the --progress mode.
func newProgress(mode string, stderr *os.File) (progress, error) {
	switch mode {
	case "auto":
		if term.IsTerminal(int(stderr.Fd())) && os.Getenv("TERM") != "dumb" {
			return newBars(stderr), nil
		}
		return newPlain(stderr), nil
	case "tty":
		return newBars(stderr), nil
	case "plain":
		return newPlain(stderr), nil
	case "json":
		return &jsonProgress{enc: json.NewEncoder(human.JSONWriter{W: stderr})}, nil
	case "none":
		return &quietProgress{w: stderr}, nil
	}
	return nil, usagef("--progress %q: expected auto, tty, plain, json or none", mode)
}

// heartbeat is how often a log shows that a long pull is alive.
const heartbeat = 10 * time.Second

// plainProgress prints a line a layer, and a heartbeat while none is done.
type plainProgress struct {
	mu     sync.Mutex
	w      io.Writer
	layers map[digest.Digest]*layerProgress
	left   int
	total  int64
	header string // printed before the first line, so that a warm pull is silent
	stop   chan struct{}
	ended  sync.WaitGroup
}

type layerProgress struct {
	number int
	size   int64
	got    int64
	state  string
	start  time.Time
}

func newPlain(w io.Writer) *plainProgress {
	p := &plainProgress{w: w, layers: map[digest.Digest]*layerProgress{}, stop: make(chan struct{})}
	p.ended.Go(p.beat)
	return p
}

func (p *plainProgress) plan(img *pull.Image, _ work) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, l := range img.Layers {
		if _, ok := p.layers[l.Descriptor.Digest]; ok {
			continue
		}
		p.layers[l.Descriptor.Digest] = &layerProgress{number: i + 1, size: l.Descriptor.Size, start: time.Now()}
		p.left++
		p.total += l.Descriptor.Size
	}
	p.header = fmt.Sprintf("%s: %s, %s\n", img.Reference, count(len(img.Layers), "layer"), size(sum(img)))
}

// print writes a line below the header. The caller holds the lock.
func (p *plainProgress) print(format string, a ...any) {
	_, _ = fmt.Fprintf(p.w, "%s%s\n", p.header, fmt.Sprintf(format, a...))
	p.header = ""
}

func (p *plainProgress) fetched(layer digest.Digest, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.layers[layer]; l != nil {
		l.got = bytes
	}
}

func (p *plainProgress) done(layer digest.Digest, state string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.layers[layer]
	if l == nil || l.state != "" {
		return
	}
	l.state = state
	p.left--
	if !unprinted(state) {
		p.print("%s", doneLine(l.number, layer, l.size, state))
	}
}

// doneLine is what stays of a layer.
func doneLine(number int, layer digest.Digest, bytes int64, state string) string {
	return fmt.Sprintf("layer %d %s %s %s", number, short(layer), size(bytes), state)
}

func (*plainProgress) checked(digest.Digest) {}

func (p *plainProgress) say(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprintln(p.w, line)
}

func (p *plainProgress) beat() {
	t := time.NewTicker(heartbeat)
	defer t.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-t.C:
			p.mu.Lock()
			if p.left > 0 {
				var got int64
				for _, l := range p.layers {
					got += l.got
				}
				p.print("%s of %s fetched, %s to go", size(got), size(p.total), count(p.left, "layer"))
			}
			p.mu.Unlock()
		}
	}
}

func (p *plainProgress) close() {
	close(p.stop)
	p.ended.Wait()
}

// jsonProgress prints an object a line.
type jsonProgress struct {
	mu  sync.Mutex
	enc *json.Encoder
	at  map[digest.Digest]time.Time
}

// jsonEvent is one line of --progress json.
type jsonEvent struct {
	Event  string        `json:"event"` // image, fetched, layer, message
	Image  string        `json:"image,omitempty"`
	Digest digest.Digest `json:"digest,omitempty"`
	Layers int           `json:"layers,omitempty"`
	Bytes  int64         `json:"bytes,omitempty"`
	State  string        `json:"state,omitempty"`
	Text   string        `json:"text,omitempty"`
}

func (p *jsonProgress) put(e jsonEvent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.enc.Encode(e) // progress that nobody can read is no failure
}

func (p *jsonProgress) plan(img *pull.Image, _ work) {
	p.put(jsonEvent{
		Event: "image", Image: img.Reference.String(), Digest: img.Manifest.Descriptor.Digest,
		Layers: len(img.Layers), Bytes: sum(img),
	})
}

func (p *jsonProgress) fetched(layer digest.Digest, bytes int64) {
	p.mu.Lock()
	if p.at == nil {
		p.at = map[digest.Digest]time.Time{}
	}
	due := time.Since(p.at[layer]) > 200*time.Millisecond // five lines a second are enough for a display
	if due {
		p.at[layer] = time.Now()
	}
	p.mu.Unlock()
	if due {
		p.put(jsonEvent{Event: "fetched", Digest: layer, Bytes: bytes})
	}
}

func (p *jsonProgress) done(layer digest.Digest, state string) {
	p.put(jsonEvent{Event: "layer", Digest: layer, State: state})
}

func (p *jsonProgress) checked(layer digest.Digest) {
	p.put(jsonEvent{Event: "layer", Digest: layer, State: "verified"})
}

func (p *jsonProgress) say(line string) { p.put(jsonEvent{Event: "message", Text: line}) }

func (p *jsonProgress) close() {}

// quietProgress shows nothing but what is said.
type quietProgress struct {
	mu sync.Mutex
	w  io.Writer
}

func (*quietProgress) plan(*pull.Image, work)       {}
func (*quietProgress) fetched(digest.Digest, int64) {}
func (*quietProgress) done(digest.Digest, string)   {}
func (*quietProgress) checked(digest.Digest)        {}
func (*quietProgress) close()                       {}

func (p *quietProgress) say(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprintln(p.w, line)
}

func sum(img *pull.Image) (n int64) {
	for _, l := range img.Layers {
		n += l.Descriptor.Size
	}
	return n
}
