package explain

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/byhand/byhand/internal/shell"
)

// Width is what the transcript fits in, in columns.
const Width = 80

// preamble begins a transcript.
const preamble = "# What does not begin with # does the same by hand, in an empty directory.\n"

// Of a terminal.
const (
	bold  = "\x1b[1m"
	dim   = "\x1b[2m"
	red   = "\x1b[1;31m"
	green = "\x1b[32m"
	plain = "\x1b[0m"
)

// paint colours each line of s.
func paint(color bool, code, s string) string {
	if !color {
		return s
	}
	lines := strings.Split(strings.TrimSuffix(s, "\n"), "\n")
	for i, l := range lines {
		lines[i] = code + l + plain
	}
	return strings.Join(lines, "\n") + "\n"
}

// text is one event of a transcript in the making.
type text struct {
	out   bytes.Buffer
	color bool
}

// event writes e; next says that the step it continues was just written.
func (t *text) event(e Event, next bool) {
	code := bold
	if e.Bad {
		code = red
	}
	switch {
	case e.Kind == kindMessage:
		t.say(code, "# ", e.Title)
	case next:
		t.say(code, "#    ", e.Title)
	default:
		t.out.WriteByte('\n')
		title := e.Title
		if e.Resume != "" {
			title = e.Resume
		}
		if e.Layer > 0 {
			title = fmt.Sprintf("layer %d: %s", e.Layer, title)
		}
		t.say(code, "# "+strconv.Itoa(e.Step)+". ", title)
		if e.Resume != "" {
			t.say(code, "#    ", e.Title)
		}
	}
	for _, f := range e.Facts {
		if !f.Silent {
			t.fact(f)
		}
	}
	for _, n := range e.Notes {
		t.say(dim, "#    ", n)
	}
	for _, c := range e.Shell {
		for _, line := range shell.Wrap(c, Width) {
			t.out.WriteString(paint(t.color, green, line+"\n"))
		}
	}
}

// fact writes a name and its value.
func (t *text) fact(f Fact) {
	name := f.Label
	if name == "" {
		name = f.Name
	}
	switch v := f.Value.(type) {
	case Command:
		const lead = "#      "
		t.say(dim, "#    ", name+":")
		for _, line := range shell.Wrap(string(v), Width-len(lead)) {
			t.out.WriteString(paint(t.color, dim, lead+line+"\n"))
		}
	case Headers:
		list := v.List
		if v.Brief != nil {
			list = v.Brief
		}
		for _, h := range list {
			t.say(dim, "#    "+v.Mark+" ", h.Name+": "+h.Value)
		}
	case []string:
		t.say(dim, "#    ", name+": "+strings.Join(v, ", "))
	default:
		t.say(dim, "#    ", fmt.Sprintf("%s: %v", name, v))
	}
}

// say writes a comment with the lead before its first line, wrapped, and what
// follows indented by two more.
func (t *text) say(code, lead, s string) {
	hang := "#" + strings.Repeat(" ", utf8.RuneCountInString(lead)+1)
	var b strings.Builder
	line, begun := lead, false
	for word := range strings.SplitSeq(Escape(s), " ") {
		for {
			sep := " "
			if !begun {
				sep = ""
			}
			room := Width - utf8.RuneCountInString(line+sep)
			if utf8.RuneCountInString(word) <= room {
				line, begun = line+sep+word, true
				break
			}
			if begun { // a word gets a line of its own before it is broken
				b.WriteString(strings.TrimRight(line, " ") + "\n")
				line, begun = hang, false
				continue
			}
			head, tail := breakWord(word, room)
			b.WriteString(line + head + "\n")
			word, line = tail, hang
		}
	}
	b.WriteString(strings.TrimRight(line, " ") + "\n")
	t.out.WriteString(paint(t.color, code, b.String()))
}

// breakWord cuts a word that is longer than a line, such as an address, where
// that reads well.
func breakWord(word string, room int) (head, tail string) {
	const least = 10 // a shorter piece reads worse than an odd break
	r := []rune(word)
	cut := room
	for i := room; i > least; i-- {
		if strings.ContainsRune("/,:&?", r[i-1]) {
			cut = i
			break
		}
	}
	return string(r[:cut]), string(r[cut:])
}

// Escape makes a foreign text fit for a terminal: what is not printable is
// written as an escape.
func Escape(s string) string {
	if shell.Displayable(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			q := strconv.QuoteRune(r)
			b.WriteString(q[1 : len(q)-1])
		}
		i += n
	}
	return b.String()
}
