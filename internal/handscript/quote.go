package handscript

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// safe are the characters that no shell treats specially anywhere in a word.
const safe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:,@%"

// isShown says whether s can stand in a script as it is and be read by a
// person as what it is.
func isShown(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// quote makes one shell word of s, which isShown.
func quote(s string) string {
	if s != "" && strings.Trim(s, safe) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

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
