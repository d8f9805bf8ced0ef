package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"
)

// size prints bytes for people: "3.4 MB", powers of 1000 as docker does.
func size(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n), ""
	for _, unit = range []string{"kB", "MB", "GB", "TB"} {
		if v /= 1000; v < 999.5 {
			break
		}
	}
	if v < 9.95 {
		return fmt.Sprintf("%.1f %s", v, unit)
	}
	return fmt.Sprintf("%.0f %s", v, unit)
}

// count prints "1 layer" or "5 layers".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// short is a digest as people recognise it: 12 digits.
func short(d digest.Digest) string {
	hex := d.String()[strings.IndexByte(d.String(), ':')+1:]
	return hex[:min(12, len(hex))]
}

// digest is d for a table: short on a terminal, and whole where a program may
// read it.
func (c *call) digest(d digest.Digest) string {
	if d == "" || c.noTrunc() {
		return d.String()
	}
	return short(d)
}

// printJSON writes v indented, as docker inspect does.
func (s *session) printJSON(v any) error {
	s.endProgress()
	enc := json.NewEncoder(s.std.out)
	enc.SetIndent("", "    ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write standard output: %w", err)
	}
	return nil
}

// printJSONList prints as printJSON does a list that nobody holds as a whole.
func (s *session) printJSONList(each func(yield func(any) error) error) error {
	return s.output(func(w io.Writer) error {
		before, after := "[\n    ", "[]\n"
		err := each(func(v any) error {
			var b bytes.Buffer
			enc := json.NewEncoder(&b)
			enc.SetIndent("    ", "    ")
			enc.SetEscapeHTML(false)
			if err := enc.Encode(v); err != nil {
				return err
			}
			_, err := fmt.Fprintf(w, "%s%s", before, bytes.TrimRight(b.Bytes(), "\n"))
			before, after = ",\n    ", "\n]\n"
			return err
		})
		if err != nil {
			return err
		}
		_, err = io.WriteString(w, after)
		return err
	})
}
