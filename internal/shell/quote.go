// Package shell writes commands for a POSIX shell: words that mean exactly
// what they are made of, and lines that fit a terminal.
package shell

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// plain are the characters that no shell treats specially.
const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+=:,@%^"

// Quote makes one shell word of s, on one line and without characters that a
// terminal acts on, whatever s contains. A path that ends in a newline becomes
// another one for the same directory.
func Quote(s string) string {
	switch {
	case !Displayable(s):
		return quoteBytes(s)
	case s != "" && strings.Trim(s, plain) == "":
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// Displayable tells whether s can stand on a terminal as it is.
func Displayable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// quoteBytes writes s through printf, which keeps the line in one piece.
// Command substitution drops newlines at the end; "/." protects them, which
// names the same directory.
func quoteBytes(s string) string {
	var b strings.Builder
	b.WriteString(`"$(printf '`)
	if strings.HasSuffix(s, "\n") {
		s += "/."
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c == '%':
			b.WriteString("%%")
		case c < 0x20 || c >= 0x7f || c == '\'' || c == '\\':
			fmt.Fprintf(&b, `\%03o`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteString(`')"`)
	return b.String()
}
