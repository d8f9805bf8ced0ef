package serve_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/byhand/byhand/internal/demo"
	"github.com/byhand/byhand/internal/serve"
)

func TestListenIsLocal(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", "[::]:0", ":0", "192.0.2.1:80", "example.org:80", "127.0.0.1"} {
		if ln, err := serve.Listen(t.Context(), address); err == nil {
			t.Errorf("Listen(%q) = %s", address, ln.Addr())
			_ = ln.Close()
		}
	}
}

func TestServeEndsWithContext(t *testing.T) {
	i := newImage(t, demo.Options{})
	ln, err := serve.Listen(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serve.Serve(ctx, ln, open(t, i.dir).Handler(serve.Options{})) }()
	if a := get(t, "http://"+ln.Addr().String()+"/v2/"); a.status != http.StatusOK {
		t.Errorf("status %d", a.status)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := serve.Serve(t.Context(), ln, http.NotFoundHandler()); err == nil || errors.Is(err, http.ErrServerClosed) {
		t.Errorf("on a closed listener: %v", err)
	}
}
