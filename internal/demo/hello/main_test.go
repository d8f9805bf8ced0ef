package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWords(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("text\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GREETING", "hi")
	tests := []struct {
		args           string
		code           int
		stdout, stderr string
	}{
		{"exit 42", 42, "", ""},
		{"cat " + file, 0, "text", ""},
		{"cat /nonexistent/file", 1, "", "/nonexistent/file"},
		{"env", 0, "GREETING=hi", ""},
		{"id", 0, "uid=", ""},
		{"ls " + filepath.Dir(file), 0, file, ""},
		{"sleep 1ms", 0, "", ""},
		{"sleep long", 1, "", "sleep 2s"},
		{"dance", 2, "", `unknown word "dance"`},
		// The machine of the test is not the image: look must say so.
		{"look", 1, "Hello", "not as the image was made"},
	}
	for _, tt := range tests {
		var stdout, stderr bytes.Buffer
		code := run(strings.Fields(tt.args), &stdout, &stderr)
		if code != tt.code || !strings.Contains(stdout.String(), tt.stdout) || !strings.Contains(stderr.String(), tt.stderr) {
			t.Errorf("%s: code %d, output %q, errors %q", tt.args, code, stdout.String(), stderr.String())
		}
	}
}
