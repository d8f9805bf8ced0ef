package overlay_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/unpack"
)

// tarLayer is a layer whose uncompressed tar is at hand. Fetched ones come
// from package pull.
type tarLayer []byte

func (l tarLayer) DiffID() digest.Digest { return digest.FromBytes(l) }

// Open needs no verification here: the diff ID was made of these very bytes.
func (l tarLayer) Open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(l)), nil
}

// Two layers become lower dirs, and those a plain tree.
func Example() {
	dir, err := os.MkdirTemp("", "byhand-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()

	// As any user: with markers and owners that need no privilege.
	store, err := overlay.Open(context.Background(), filepath.Join(dir, "store"), overlay.Options{UserXattr: true, Owners: unpack.Squash})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = store.Close() }()

	base := tarLayer(testtar.Tar(testtar.Dir("etc"), testtar.File("etc/motd", "hello\n"), testtar.File("etc/old", "")))
	top := tarLayer(testtar.Tar(testtar.File("etc/name", "byhand\n"), testtar.Whiteout("etc/old")))
	ctx := context.Background()
	layers, err := store.AddAll(ctx, []overlay.Source{base, top}, overlay.AddOptions{})
	if err != nil {
		log.Fatal(err)
	}
	var dirs []string
	for _, l := range layers {
		fmt.Printf("%s: %d entries\n", l.ChainID[:14], l.Counts.Entries)
		dirs = append(dirs, l.Dir)
	}

	root := filepath.Join(dir, "root")
	if err := overlay.Flatten(ctx, dirs, root, overlay.FlattenOptions{}); err != nil {
		log.Fatal(err)
	}
	files, err := os.ReadDir(filepath.Join(root, "etc"))
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range files {
		fmt.Println(f.Name())
	}
	// Output:
	// sha256:f133106: 3 entries
	// sha256:fac7907: 2 entries
	// motd
	// name
}
