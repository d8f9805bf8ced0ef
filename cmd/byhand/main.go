// Command byhand runs a container by hand: it pulls an image with every
// digest verified, applies its layers into overlay2-style lower dirs, and
// writes an OCI runtime bundle that runc can start.
package main

import (
	"context"
	"os"
	"syscall"

	"github.com/byhand/byhand/internal/heed"
)

func main() {
	inner(os.Args)
	ctx, stop := heed.Context(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	code := run(ctx, os.Args, streams{in: os.Stdin, out: os.Stdout, err: os.Stderr})
	stop()
	os.Exit(code)
}
