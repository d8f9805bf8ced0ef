package overlay_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/byhand/byhand/internal/testtar"
)

// twins is an image that has one layer three times, whole and in the way of
// what is between.
func twins() []*fakeSource {
	raw := testtar.Tar(testtar.Dir("./"), testtar.File("d/a", "A", testtar.Mode(0o640)), testtar.Symlink("l", "d"), testtar.Link("h", "d/a"), testtar.Whiteout("gone"))
	between := testtar.Tar(testtar.Whiteout("d"), testtar.File("l/b", "B"))
	return []*fakeSource{source(raw), source(between), source(raw), leaning("c"), source(raw)}
}

func opened(srcs []*fakeSource) (n []int32) {
	for _, src := range srcs {
		n = append(n, src.opened.Load())
	}
	return n
}

// TestAddAllTwins fetches a layer once, however often the image has it, and
// the layers are what they are if each is fetched.
func TestAddAllTwins(t *testing.T) {
	srcs := twins()
	s := open(t, t.TempDir())
	layers := addAll(t, s, srcs...)
	if got := opened(srcs); !slices.Equal(got, []int32{1, 1, 0, 1, 0}) {
		t.Errorf("opened %v times", got)
	}
	strangers := twins()
	for i, src := range strangers { // the same files, under other diff IDs
		strangers[i] = source(append(bytes.Clone(src.tar), make([]byte, 512*i)...))
	}
	for i, want := range addAll(t, open(t, t.TempDir()), strangers...) {
		sameDir(t, i, want.Dir, layers[i].Dir)
	}
	if got := opened(strangers); slices.Contains(got, 0) {
		t.Errorf("strangers were opened %v times", got)
	}
}

// TestAddAllBadTwin has a twin in the store that no tar can be had from any
// more: then the source is asked.
func TestAddAllBadTwin(t *testing.T) {
	for name, spoil := range map[string]func(diff string) error{
		"content": func(diff string) error { return os.WriteFile(filepath.Join(diff, "d/a"), []byte("Z"), 0o640) },
		"record":  func(diff string) error { return os.Remove(filepath.Join(filepath.Dir(diff), "tar-record.s2")) },
	} {
		t.Run(name, func(t *testing.T) {
			srcs := twins()
			s := open(t, t.TempDir())
			low := addAll(t, s, srcs[:2]...)
			if err := spoil(low[0].Dir); err != nil {
				t.Fatal(err)
			}
			layers := addAll(t, s, srcs...)
			if got := opened(srcs); got[2] != 1 {
				t.Errorf("opened %v times", got)
			}
			if got := read(t, filepath.Join(layers[2].Dir, "d/a")); got != "A" {
				t.Errorf("d/a is %q", got)
			}
		})
	}
}
