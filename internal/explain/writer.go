package explain

import (
	"bytes"
	"encoding/json"
	"io"
	"sync"
	"time"

	"github.com/byhand/byhand/internal/human"
)

// Options say how a Writer writes.
type Options struct {
	JSON  bool
	Color bool // of a terminal that has it
}

// Writer writes events. Its methods may be called from several goroutines; each
// event is written in one piece.
type Writer struct {
	mu    sync.Mutex
	out   io.Writer
	o     Options
	steps int
	last  int  // the step written last
	begun bool // the transcript's first lines are written
}

// NewWriter returns a writer to out.
func NewWriter(out io.Writer, o Options) *Writer { return &Writer{out: out, o: o} }

// Put writes an event and returns the number of its step. What cannot be written
// is lost: a transcript that nobody reads is no failure.
func (w *Writer) Put(e Event) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	continues := e.Step != 0
	if !continues && e.Kind != kindMessage {
		w.steps++
		e.Step = w.steps
	}
	if w.o.JSON {
		_, _ = w.out.Write(line(e, time.Now()))
		return e.Step
	}
	if e.Kind != kindMessage && !w.begun {
		w.begun = true
		_, _ = io.WriteString(w.out, paint(w.o.Color, dim, preamble))
	}
	t := text{color: w.o.Color}
	t.event(e, continues && w.last == e.Step)
	w.last = e.Step
	_, _ = t.out.WriteTo(w.out)
	return e.Step
}

// line is the event as one line of JSON.
func line(e Event, now time.Time) []byte {
	r := record{
		Version: Version, Time: now.UTC(), Step: e.Step, Event: e.Kind, Layer: e.Layer,
		Title: e.Title, Notes: e.Notes, Shell: e.Shell, Bad: e.Bad,
	}
	for _, f := range e.Facts {
		if r.Facts == nil {
			r.Facts = map[string]any{}
		}
		r.Facts[f.Name] = f.Value
		if h, ok := f.Value.(Headers); ok {
			r.Facts[f.Name] = h.List
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(human.JSONWriter{W: &b})
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		return nil // facts are of types that have JSON
	}
	return b.Bytes()
}
