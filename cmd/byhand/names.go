package main

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// fileName is a file's name as the reader of standard output wants it: as it
// is for a program, and for a person quoted as GNU ls quotes what could not be
// typed, or would move the cursor.
func (c *call) fileName(name string) string {
	if c.terminalWidth() == 0 {
		return name
	}
	return shellName(name)
}

// shellName quotes a name so that a shell reads it back, if it has to.
func shellName(name string) string {
	if !needsQuotes(name) {
		return name
	}
	if name == "" {
		return "''"
	}
	var b strings.Builder
	quoted, escaped := false, false // inside '…', inside $'…'
	enter := func(escape bool) {
		if quoted && escaped == escape {
			return
		}
		if quoted {
			b.WriteByte('\'')
		}
		if escape {
			b.WriteByte('$')
		}
		b.WriteByte('\'')
		quoted, escaped = true, escape
	}
	for i := 0; i < len(name); {
		r, n := utf8.DecodeRuneInString(name[i:])
		switch {
		case r == '\'':
			enter(true)
			b.WriteString(`\'`)
		case r == utf8.RuneError && n == 1, !unicode.IsPrint(r):
			enter(true)
			b.WriteString(escapeBytes(name[i : i+n]))
		default:
			enter(false)
			b.WriteRune(r)
		}
		i += n
	}
	b.WriteByte('\'')
	return b.String()
}

// needsQuotes says whether a shell would take name for anything else.
func needsQuotes(name string) bool {
	if name == "" || strings.IndexByte("~#", name[0]) >= 0 {
		return true
	}
	for i, r := range name {
		if r == utf8.RuneError {
			_, n := utf8.DecodeRuneInString(name[i:])
			if n == 1 {
				return true
			}
		}
		if !unicode.IsPrint(r) || strings.ContainsRune(" !\"$&'()*;<=>?[\\^`|", r) {
			return true
		}
	}
	return false
}

// escapeBytes writes bytes as $'…' understands them.
func escapeBytes(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; c {
		case '\n':
			b.WriteString(`\n`)
		case '\t':
			b.WriteString(`\t`)
		case '\r':
			b.WriteString(`\r`)
		default:
			octal := strconv.FormatUint(uint64(c), 8)
			b.WriteString(`\` + strings.Repeat("0", 3-len(octal)) + octal)
		}
	}
	return b.String()
}
