package pull_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/pull"
)

// From a name to the files of the layers. Here docker save's output comes from
// standard input; a registry's image would be named alpine:3.20, say.
func Example() {
	ctx := context.Background()
	ref, err := pull.ParseReference("docker-archive:-")
	if err != nil {
		log.Fatal(err)
	}
	client := &pull.Client{Stdin: savedImage()}
	defer func() { _ = client.Close() }()
	img, err := client.Resolve(ctx, ref, pull.Platform{OS: "linux", Architecture: "amd64"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(pull.FormatPlatform(img.Spec.Platform), img.Spec.Config.Cmd)
	for _, layer := range img.Layers {
		if err := list(ctx, layer); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// linux/amd64 [/hello]
	// hello 15
	// layer 1 verified
}

// list prints the files of one layer.
func list(ctx context.Context, layer *pull.Layer) error {
	stream, err := layer.Open(ctx, pull.OpenOptions{})
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	tr := tar.NewReader(stream)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		fmt.Println(h.Name, h.Size)
	}
	// A tar reader stops before the stream does, and only the stream's own
	// end says that the digests matched.
	if _, err := io.Copy(io.Discard, stream); err != nil {
		return err
	}
	fmt.Println("layer", layer.Index+1, "verified")
	return nil
}

// savedImage makes what docker save would write.
func savedImage() io.Reader {
	layer := tarball(map[string]string{"hello": "#!/bin/sh\necho\n"})
	config, _ := json.Marshal(ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"},
		Config:   ocispec.ImageConfig{Cmd: []string{"/hello"}},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(layer)}},
	})
	return bytes.NewReader(tarball(map[string]string{
		"config.json":   string(config),
		"layer.tar":     string(layer),
		"manifest.json": `[{"Config":"config.json","RepoTags":["hello:latest"],"Layers":["layer.tar"]}]`,
	}))
}

func tarball(files map[string]string) []byte {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for name, content := range files {
		_ = w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))})
		_, _ = w.Write([]byte(content))
	}
	_ = w.Close()
	return buf.Bytes()
}
