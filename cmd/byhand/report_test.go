package main

import (
	"os/exec"
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
	// A process of its own, since an ordinary user's goes into a user namespace.
	cmd := exec.Command("/proc/self/exe", "--store", filepath.Join(dir, "store"), "report", "oci:"+image+":v1", "-o", page)
	cmd.Args[0] = "byhand"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("report: %v: %s", err, out)
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
