package main

import (
	"bytes"
	"os"
	"testing"
)

// TestGenerated tells when go generate is due.
func TestGenerated(t *testing.T) {
	var want bytes.Buffer
	if err := generate(&want); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../fast_amd64.s")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("fast_amd64.s is not what the template makes: run go generate ./internal/inflate")
	}
}
