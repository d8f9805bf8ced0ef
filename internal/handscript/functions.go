package handscript

import (
	_ "embed"
	"regexp"
	"strings"
)

// functionsText holds the shell functions, each with the comment above it,
// separated by empty lines. A script gets those that it uses.
//
//go:embed functions.sh
var functionsText string

// function is one of them.
type function struct{ name, text string }

func functions() []function {
	var list []function
	for text := range strings.SplitSeq(strings.TrimSpace(functionsText), "\n\n") {
		head, _, _ := strings.Cut(text, "() {")
		list = append(list, function{name: head[strings.LastIndexByte(head, '\n')+1:], text: text})
	}
	return list
}

// needed returns the text of the functions that text uses, directly or not.
func needed(text string) string {
	all := functions()
	use := map[string]bool{}
	for work := []string{text}; len(work) > 0; work = work[1:] {
		for _, f := range all {
			if !use[f.name] && mentions(work[0], f.name) {
				use[f.name] = true
				work = append(work, f.text)
			}
		}
	}
	var b strings.Builder
	for _, f := range all {
		if use[f.name] {
			b.WriteString("\n" + f.text + "\n")
		}
	}
	return b.String()
}

// mentions says whether a line of text has name as a command.
func mentions(text, name string) bool {
	return regexp.MustCompile(`(?m)(^|[\s;&|{(])` + name + `([\s;)]|$)`).MatchString(uncommented(text))
}

func uncommented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			b.WriteString(line)
		}
	}
	return b.String()
}
