package handscript

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// escape writes s as a format for printf(1), in characters that show.
func escape(s string) string {
	var b strings.Builder
	if strings.HasPrefix(s, "-") { // no option
		b.WriteString(`\055`)
		s = s[1:]
	}
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == '%':
			b.WriteString("%%")
		case r == '\'' || r == '\\' || r == utf8.RuneError && n == 1 || !unicode.IsPrint(r):
			for i := range n {
				fmt.Fprintf(&b, `\%03o`, s[i])
			}
		default:
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

// comment makes text fit to stand behind a # on one line.
func comment(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}
