package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/byhand/byhand/internal/human"
)

// size prints bytes for people.
func size(n int64) string { return human.Bytes(n) }

// count prints "1 layer" or "5 layers".
func count(n int, noun string) string { return human.Count(n, noun) }

// short is a digest as people recognise it.
func short(d digest.Digest) string { return human.Short(d) }

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
	enc := json.NewEncoder(human.JSONWriter{W: s.std.out})
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
			enc := json.NewEncoder(human.JSONWriter{W: &b})
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
