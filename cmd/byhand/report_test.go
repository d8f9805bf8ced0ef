package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/byhand/byhand/internal/testchrome"
)

// TestReportInBrowser opens the demo image's page.
func TestReportInBrowser(t *testing.T) {
	dir := t.TempDir()
	image, page := filepath.Join(dir, "image"), filepath.Join(dir, "page.html")
	buildDemo(t, image)
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	code := run(t.Context(), []string{"byhand", "--store", filepath.Join(dir, "store"), "report", "oci:" + image + ":v1", "-o", page},
		streams{in: os.Stdin, out: out, err: os.Stderr})
	if code != exitOK {
		t.Fatalf("exit code %d", code)
	}
	tab := testchrome.Start(t).Open(1280, 900)
	tab.Load("file://" + page)
	if p, r := tab.Problems(), tab.Requests(); len(p) > 0 || len(r) != 1 {
		t.Errorf("the page complains %q and asks for %q", p, r)
	}
	var got struct {
		Ready, Layers, Lines, Matches int
		List                          string
	}
	tab.Eval(`({
		ready: +document.documentElement.dataset.ready, layers: document.querySelectorAll('.change').length,
		lines: document.querySelectorAll('#pair path').length, matches: document.querySelectorAll('.checks .ok').length,
		list: document.querySelector('.side li').textContent,
	})`, &got)
	if got.Ready < 25 || got.Layers != 5 || got.Lines < 12 || got.Matches < 11 || !strings.HasPrefix(got.List, "usr/") {
		t.Errorf("%+v", got)
	}
}
