package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
)

func TestReadSecret(t *testing.T) {
	key := "_json_key:{\n \"key\": \"a:b\"\n}"
	for _, tt := range []struct{ in, want string }{
		{"ann:s3cret\n", "ann:s3cret"},
		{"ann:s3cret\r\n", "ann:s3cret"},
		{"ann:s3cret", "ann:s3cret"},
		{key + "\n", key},
		{"", ""},
	} {
		got, err := readSecret(t.Context(), input(t, tt.in))
		if got != tt.want || err != nil {
			t.Errorf("read %q: %q, %v, expected %q", tt.in, got, err, tt.want)
		}
	}
	if got, err := readSecret(t.Context(), input(t, strings.Repeat("x", maxSecret+1))); err == nil {
		t.Errorf("read %d bytes, expected an error", len(got))
	}
}

// TestReadSecretInterrupted waits for what nobody writes.
func TestReadSecretInterrupted(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := readSecret(ctx, r); !errors.Is(err, context.Canceled) {
		t.Errorf("read nothing: %v", err)
	}
}

// input is a pipe with text in it.
func input(t *testing.T, text string) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	go func() {
		_, _ = w.WriteString(text)
		_ = w.Close()
	}()
	return r
}
