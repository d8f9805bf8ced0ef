package overlay_test

import (
	"strings"
	"testing"

	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/overlay"
)

// TestMarkersBounded: a layer that names one deep directory in short entries,
// through a link, does not fill the memory with its name.
func TestMarkersBounded(t *testing.T) {
	deep := strings.Repeat(strings.Repeat("d", 250)+"/", 15)[:3700]
	entries := []testtar.Entry{testtar.Dir(deep), testtar.Symlink("s", deep)}
	for range 10_000 {
		entries = append(entries, testtar.Opaque("s"))
	}
	var names, bytes int
	o := options()
	o.Markers = true
	o.Observe = func(e overlay.Event) {
		for _, n := range e.Opaques {
			names++
			bytes += len(n)
		}
	}
	addAll(t, openWith(t, t.TempDir(), o), source(testtar.Tar(entries...)))
	if names < 1000 || bytes > 16<<20 {
		t.Errorf("%d names of %d bytes were kept, want 16 MiB of them", names, bytes)
	}
}
