package human_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode"

	"github.com/byhand/byhand/internal/human"
)

// TestJSONWriter: nothing that a terminal could act on, and the same value.
func TestJSONWriter(t *testing.T) {
	for _, s := range []string{"", "plain", "é漢😀", "\x1b[31m\x00\t\r\n", "\u007f\u009b31m", "\u202eevil\u2066", "\u2028\u2029", "\U000e0001tag", "\xff"} {
		var b bytes.Buffer
		enc := json.NewEncoder(human.JSONWriter{W: &b})
		enc.SetEscapeHTML(false)
		if err := enc.Encode(s); err != nil {
			t.Fatal(err)
		}
		for _, r := range b.String() {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Errorf("%q: %q has %U", s, b.String(), r)
			}
		}
		var plain, escaped string
		raw, err := json.Marshal(s)
		if err != nil || json.Unmarshal(raw, &plain) != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b.Bytes(), &escaped); err != nil || escaped != plain {
			t.Errorf("%q became %q, error %v", plain, escaped, err)
		}
	}
}
