package handscript

import (
	"fmt"
	"strings"

	"github.com/byhand/byhand/bundle"
	sh "github.com/byhand/byhand/internal/shell"
)

// writer puts the script together: the body first, then, since it tells which
// are used, the functions above it.
type writer struct {
	*Script
	spec  bundle.Result
	plans []layerPlan
	lines strings.Builder
	odd   int             // odd1, odd2, … hold words of the current line
	said  map[string]bool // what learn has explained
}

// whole is the script.
func (w *writer) whole() string {
	body := w.lines.String()
	functions := needed(body+w.sourceFunctions()+trapLine, w.conditions())
	head := &writer{Script: w.Script, spec: w.spec}
	head.head()
	if strings.Contains(functions, "$kind") {
		head.set("kind", w.Record.RootFS)
	}
	return head.lines.String() + w.sourceFunctions() + functions + body
}

// trapLine is all that calls finish.
const trapLine = "finish\n"

// raw writes lines of script as they are.
func (w *writer) raw(lines string) { w.lines.WriteString(lines) }

// note writes a comment, in lines that fit a terminal, after an empty line.
func (w *writer) note(format string, a ...any) {
	w.raw("\n")
	w.remark(format, a...)
}

// remark is note without the empty line.
func (w *writer) remark(format string, a ...any) {
	line := "#"
	for word := range strings.FieldsSeq(comment(fmt.Sprintf(format, a...))) {
		if len(line)+1+len(word) > 80 && line != "#" {
			w.raw(line + "\n")
			line = "#"
		}
		line += " " + word
	}
	w.raw(line + "\n")
}

// learn is note for what the script does again and again: it is explained once.
func (w *writer) learn(text string) {
	if w.said == nil {
		w.said = map[string]bool{}
	}
	if !w.said[text] {
		w.said[text] = true
		w.note("%s", text)
	}
}

// shell is a word that is script already.
type shell string

// line writes one command. A string that does not show as what it is is put
// into a variable first; none can be taken for anything but a word.
func (w *writer) line(words ...any) {
	w.odd = 0
	out := make([]string, len(words))
	for i, word := range words {
		switch word := word.(type) {
		case shell:
			out[i] = string(word)
		default:
			out[i] = w.word(fmt.Sprint(word))
		}
	}
	w.raw(strings.Join(out, " ") + "\n")
}

// word makes one shell word of any string without NUL.
func (w *writer) word(s string) string {
	if sh.Displayable(s) {
		return sh.Quote(s)
	}
	w.odd++
	name := fmt.Sprintf("odd%d", w.odd)
	// The dot keeps what is before it: $( ) drops newlines at the end.
	w.raw(fmt.Sprintf("%s=$(printf '%s.')\n%s=${%s%%.}\n", name, escape(s), name, name))
	return `"$` + name + `"`
}

// set assigns a variable.
func (w *writer) set(name, value string) {
	w.odd = 0
	w.raw(name + "=" + w.word(value) + "\n")
}

// steps writes commands under what explains them, if there are any.
func (w *writer) steps(steps []step, text string) {
	if len(steps) == 0 {
		return
	}
	w.learn(text)
	w.commands(steps)
}

// commands writes steps one below the other.
func (w *writer) commands(steps []step) {
	for _, s := range steps {
		words := make([]any, len(s))
		for i := range s {
			words[i] = s[i]
		}
		w.line(words...)
	}
}

// file writes a file with the given content, which is JSON: a line of it
// cannot be the delimiter.
func (w *writer) file(name, content string) {
	w.raw("cat >" + name + " <<'END OF JSON'\n" + content)
	if !strings.HasSuffix(content, "\n") {
		w.raw("\n")
	}
	w.raw("END OF JSON\n")
}
