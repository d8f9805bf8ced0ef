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

// functions returns those that there are where the conditions hold. What stands
// between "#if CONDITION" and "#end" is for a script with mirrors, or with client
// certificates, alone.
func functions(holds map[string]bool) []function {
	var kept strings.Builder
	skip := false
	for line := range strings.Lines(functionsText) {
		condition, isIf := strings.CutPrefix(line, "#if ")
		switch {
		case isIf:
			skip = !holds[strings.TrimSpace(condition)]
		case line == "#end\n":
			skip = false
		case !skip:
			kept.WriteString(line)
		}
	}
	var list []function
	for text := range strings.SplitSeq(strings.TrimSpace(kept.String()), "\n\n") {
		if text = strings.Trim(text, "\n"); text == "" {
			continue
		}
		head, _, _ := strings.Cut(text, "() {")
		list = append(list, function{name: head[strings.LastIndexByte(head, '\n')+1:], text: text})
	}
	return list
}

// needed returns the text of the functions that text uses, directly or not.
func needed(text string, holds map[string]bool) string {
	all := functions(holds)
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
