package bundle_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/bundle"
	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/pull"
	"github.com/byhand/byhand/unpack"
)

// pulled is a layer of package pull as the store takes it.
type pulled struct{ *pull.Layer }

func (l pulled) Open(ctx context.Context) (io.ReadCloser, error) {
	return l.Layer.Open(ctx, pull.OpenOptions{})
}

// From the name of an image to a bundle that runc runs, as an ordinary user:
// what byhand pull-and-unpack --rootfs flat does. Root would leave the options
// empty, and in the place of overlay.Flatten call Store.Use, overlay.Prepare and
// overlay.Mount, with the options that overlay.BundleMount gives.
func Example_image() {
	dir, err := os.MkdirTemp("", "byhand-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	// In real use the name is alpine:3.20, say. Here docker save's output is
	// at hand.
	client := &pull.Client{Stdin: dockerSave()}
	defer func() { _ = client.Close() }()
	if err := makeBundle(context.Background(), client, "docker-archive:-", filepath.Join(dir, "store"), filepath.Join(dir, "box")); err != nil {
		log.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "box/rootfs/hello"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s", raw)
	// Output:
	// process: /hello
	// #!/bin/sh
	// echo hello
}

func makeBundle(ctx context.Context, client *pull.Client, name, storeDir, box string) error {
	ref, err := pull.ParseReference(name)
	if err != nil {
		return err
	}
	img, err := client.Resolve(ctx, ref, pull.Platform{OS: "linux", Architecture: "amd64"})
	if err != nil {
		return err
	}
	store, err := overlay.Open(ctx, storeDir, overlay.Options{UserXattr: true, Owners: unpack.Squash})
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	var sources []overlay.Source
	for _, l := range img.Layers {
		sources = append(sources, pulled{l})
	}
	// Whatever does not have its digests never gets a name in the store.
	layers, err := store.AddAll(ctx, sources, overlay.AddOptions{})
	if err != nil {
		return err
	}
	var lower []string
	for _, l := range layers {
		lower = append(lower, l.Dir)
	}
	if err := os.Mkdir(box, 0o755); err != nil {
		return err
	}
	rootfs := filepath.Join(box, "rootfs")
	if err := overlay.Flatten(ctx, lower, rootfs, overlay.FlattenOptions{Owners: unpack.Squash}); err != nil {
		return err
	}
	root, err := bundle.OpenRoot(rootfs)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	result, err := bundle.Spec(img.Config.Raw, root, bundle.Options{Rootless: true})
	if err != nil {
		return err
	}
	fmt.Println("process:", result.Spec.Process.Args[0])
	if _, err := bundle.PopulateVolumes(ctx, box, result.Volumes, root); err != nil {
		return err
	}
	return bundle.Write(box, result, bundle.WriteOptions{})
}

// dockerSave makes what docker save would write.
func dockerSave() io.Reader {
	layer := tarOf("hello", "#!/bin/sh\necho hello\n")
	config, _ := json.Marshal(ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"},
		Config:   ocispec.ImageConfig{Cmd: []string{"/hello"}},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(layer)}},
	})
	const manifest = `[{"Config":"config.json","RepoTags":["hello:latest"],"Layers":["layer.tar"]}]`
	return bytes.NewReader(tarOf("config.json", string(config), "layer.tar", string(layer), "manifest.json", manifest))
}

// tarOf makes a tar of names and contents.
func tarOf(files ...string) []byte {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for i := 0; i < len(files); i += 2 {
		_ = w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o755, Size: int64(len(files[i+1]))})
		_, _ = io.WriteString(w, files[i+1])
	}
	_ = w.Close()
	return buf.Bytes()
}
