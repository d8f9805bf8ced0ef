package unpack_test

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"os"

	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/unpack"
)

// A layer that changes one file of the layers below and deletes another.
func ExampleApply() {
	layer := testtar.Tar(
		testtar.File("etc/motd", "welcome\n"),
		testtar.Whiteout("etc/issue"),
	)
	name, err := os.MkdirTemp("", "layer")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(name) }()
	dir, err := os.Open(name)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = dir.Close() }()

	result, err := unpack.Apply(context.Background(), dir, bytes.NewReader(layer), unpack.Options{Owners: unpack.Squash})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Counts.Files, "file,", result.Counts.Whiteouts, "whiteout")
	fmt.Println("the layers below have a say about", result.Pending.ImplicitDirs)
	// Output:
	// 1 file, 1 whiteout
	// the layers below have a say about [. etc]
}
