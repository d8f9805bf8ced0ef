package serve_test

import (
	"context"
	"fmt"
	"net/http"
	"os"

	"github.com/byhand/byhand/internal/demo"
	"github.com/byhand/byhand/internal/serve"
)

// A registry for as long as it takes to ask it for a manifest.
func Example() {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if _, err := demo.Build(dir, demo.Options{Tag: "v1"}); err != nil {
		panic(err)
	}

	ctx, stop := context.WithCancel(context.Background())
	source, err := serve.ParseSource("lab/demo=oci:" + dir)
	if err != nil {
		panic(err)
	}
	catalog, err := serve.Open(ctx, []serve.Source{source})
	if err != nil {
		panic(err)
	}
	ln, err := serve.Listen(ctx, "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- serve.Serve(ctx, ln, catalog.Handler(serve.Options{})) }()

	fmt.Println(catalog.Images()[0])
	resp, err := http.Get("http://" + ln.Addr().String() + "/v2/lab/demo/manifests/v1")
	if err != nil {
		panic(err)
	}
	_ = resp.Body.Close()
	fmt.Println(resp.Status, resp.Header.Get("Content-Type"))

	stop()
	if err := <-ended; err != nil {
		panic(err)
	}
	if err := catalog.Close(); err != nil {
		panic(err)
	}
	// Output:
	// lab/demo:v1
	// 200 OK application/vnd.oci.image.manifest.v1+json
}
