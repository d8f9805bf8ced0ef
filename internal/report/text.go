package report

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/byhand/byhand/internal/human"
)

// The longest foreign texts that are shown, in characters.
const (
	maxName    = 300     // of a file; overlayfs has no longer component than 255 bytes
	maxCommand = 4000    // of a history entry
	maxValue   = 2000    // of an element of the configuration
	maxRaw     = 1 << 18 // of config.json as a whole
)

// printable makes foreign text fit to be read: bytes that are no UTF-8, control
// characters, and characters that cannot be seen or that turn the direction of
// writing are written as escapes. Newlines and tabs become escapes too.
func printable(s string, most int) string {
	var b strings.Builder
	n := 0
	for i, r := range s {
		if n++; n > most {
			fmt.Fprintf(&b, "… (%s characters in all)", thousands(int64(utf8.RuneCountInString(s))))
			break
		}
		switch {
		case r == utf8.RuneError && isBad(s[i:]):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == ' ' || unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		}
	}
	return b.String()
}

func isBad(s string) bool {
	_, size := utf8.DecodeRuneInString(s)
	return size == 1
}

// printableLines is printable for text of several lines.
func printableLines(s string, most int) string {
	var out []string
	for line := range strings.SplitSeq(s, "\n") {
		line = strings.ReplaceAll(line, "\t", "    ")
		if most -= utf8.RuneCountInString(line); most < 0 {
			out = append(out, "… (cut: "+human.Bytes(int64(len(s)))+" in all)")
			break
		}
		out = append(out, printable(line, maxValue))
	}
	return strings.Join(out, "\n")
}

// thousands writes a number with commas.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// counted writes "1 file" or "5,000 files".
func counted(n int64, noun string) string { return thousands(n) + " " + human.Plural(n, noun) }

// percent writes part of whole.
func percent(part, whole int64) string {
	if whole == 0 {
		return "–"
	}
	p := 100 * float64(part) / float64(whole)
	if p > 0 && p < 0.05 {
		return "< 0.1 %"
	}
	if p < 100 && p >= 99.95 {
		return "> 99.9 %"
	}
	return fmt.Sprintf("%.1f %%", p)
}
