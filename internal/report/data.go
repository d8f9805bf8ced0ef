package report

import (
	"bytes"
	"encoding/json"
	"strconv"

	"github.com/byhand/byhand/internal/imagetree"
)

// The embedded data is one JSON array per name, so that fifty thousand of them
// are a few megabytes. A directory ends its line, so that pages compare well:
//
//	[NAME, LAYER, SIZE, EVENTS?]          a regular file
//	[NAME, LAYER, NOTE, EVENTS?]          anything else but a directory
//	[NAME, LAYER, [NAMES…], EVENTS?]      a directory
//	[null, LAYER, BYTES, NAMES, FILES]    names that are left out
//
// LAYER is the one that the merged tree has the name from, 0 if it has no such
// name. EVENTS is a flat array of layer, kind, bytes that came, bytes that were
// hidden; kinds are 0 added, 1 changed, 2 deleted, and 4 more for a directory
// made opaque. It is left out where all that happened is that LAYER added the
// name, with its SIZE.
type encoder struct{ bytes.Buffer }

// encode writes the data of the tree below and with root.
func encode(root *shown) []byte {
	e := &encoder{}
	e.node(root)
	return e.Bytes()
}

func (e *encoder) node(s *shown) {
	e.WriteByte('[')
	e.text(printable(s.name, maxName))
	e.WriteByte(',')
	e.number(int64(s.layer))
	e.WriteByte(',')
	switch {
	case s.dir || len(s.kids) > 0 || s.rest.names > 0:
		e.kids(s)
	case s.note != "":
		e.text(printable(s.note, maxName))
	default:
		e.number(s.size)
	}
	if !s.plain() {
		e.WriteByte(',')
		e.events(s.node.events)
	}
	e.WriteByte(']')
}

func (e *encoder) kids(s *shown) {
	e.WriteByte('[')
	for i, k := range s.kids {
		if i > 0 {
			e.WriteByte(',')
		}
		e.node(k)
	}
	if r := s.rest; r.names > 0 {
		if len(s.kids) > 0 {
			e.WriteByte(',')
		}
		e.WriteString("[null,")
		for i, n := range []int64{int64(r.layer), r.bytes, r.names, r.files} {
			if i > 0 {
				e.WriteByte(',')
			}
			e.number(n)
		}
		e.WriteByte(']')
	}
	e.WriteString("]\n")
}

// plain says that the node's events follow from the rest.
func (s *shown) plain() bool {
	if len(s.node.events) != 1 {
		return false
	}
	ev := s.node.events[0]
	return ev.kind == imagetree.Added && !ev.opaque && ev.hidden == 0 && ev.layer == s.layer &&
		(s.dir || s.note != "" || ev.added == s.size)
}

func (e *encoder) events(list []event) {
	e.WriteByte('[')
	for i, ev := range list {
		if i > 0 {
			e.WriteByte(',')
		}
		e.number(int64(ev.layer))
		e.WriteByte(',')
		e.number(ev.code())
		e.WriteByte(',')
		e.number(ev.added)
		e.WriteByte(',')
		e.number(ev.hidden)
	}
	e.WriteByte(']')
}

func (ev *event) code() int64 {
	code := map[imagetree.Kind]int64{imagetree.Added: 0, imagetree.Changed: 1, imagetree.Deleted: 2}[ev.kind]
	if ev.opaque {
		code += 4
	}
	return code
}

func (e *encoder) number(n int64) {
	e.Write(strconv.AppendInt(e.AvailableBuffer(), n, 10))
}

// text writes a string as JSON that can stand in a script element: <, > and &
// and the line separators of JavaScript are escaped.
func (e *encoder) text(s string) {
	raw, err := json.Marshal(s)
	if err != nil {
		raw = []byte(`""`) // it cannot fail for a string
	}
	e.Write(raw)
}
