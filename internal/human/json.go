package human

import (
	"bytes"
	"fmt"
	"io"
	"unicode"
	"unicode/utf16"
)

// JSONWriter takes JSON and writes it as [EscapeJSON] has it. A Write must not
// end within a character.
type JSONWriter struct{ W io.Writer }

func (w JSONWriter) Write(p []byte) (int, error) {
	if _, err := w.W.Write(EscapeJSON(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// EscapeJSON writes in JSON escapes for the characters that a terminal could act
// on and that encoding/json leaves as they are: the control characters from
// U+007F to U+009F, and what turns the direction of writing round. To a program
// the text means the same.
func EscapeJSON(raw []byte) []byte {
	if bytes.IndexFunc(raw, unprintable) < 0 {
		return raw
	}
	var b bytes.Buffer
	for _, r := range string(raw) {
		switch {
		case !unprintable(r):
			b.WriteRune(r)
		case r > 0xffff:
			r1, r2 := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, r1, r2)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.Bytes()
}

// unprintable is for text between which encoding/json puts nothing but spaces
// and line breaks.
func unprintable(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }
