package bundle_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/byhand/byhand/bundle"
)

// A bundle is made from an image config and a directory with the image's
// merged tree.
func Example() {
	dir, err := os.MkdirTemp("", "bundle")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	rootfs := filepath.Join(dir, "rootfs")
	if err := os.Mkdir(rootfs, 0o755); err != nil {
		log.Fatal(err)
	}
	root, err := bundle.OpenRoot(rootfs)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = root.Close() }()

	config := []byte(`{"os": "linux", "config": {"Entrypoint": ["/app"], "Cmd": ["serve"], "Volumes": {"/data": {}}}}`)
	r, err := bundle.Spec(config, root, bundle.Options{Args: []string{"--help"}, User: "1000:1000"})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := bundle.PopulateVolumes(context.Background(), dir, r.Volumes, root); err != nil {
		log.Fatal(err)
	}
	if err := bundle.Write(dir, r, bundle.WriteOptions{}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.Spec.Process.Args, r.Spec.Process.User.UID)
	for _, v := range r.Volumes {
		fmt.Println(v.Destination, "is", v.Source)
	}
	// Output:
	// [/app --help] 1000
	// /data is volumes/0
}
