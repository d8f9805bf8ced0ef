package ociruntime_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/byhand/byhand/internal/ociruntime"
)

// A program hands over to Inner first of all, and runs bundles with Run.
func Example() {
	mount := func(_ context.Context, request json.RawMessage) error {
		fmt.Println("mounts, in the private namespace:", string(request))
		return nil
	}
	if code, ok := ociruntime.Inner(os.Args, mount); ok {
		os.Exit(code)
	}
	code, err := ociruntime.Run(context.Background(), ociruntime.Options{
		Bundle:  "/no/such/bundle",
		Runtime: "/bin/true",
		Prepare: map[string]string{"target": "/no/such/bundle/rootfs"},
		Stdin:   os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	})
	fmt.Println(code, err)
	// Output: 125 read bundle: open /no/such/bundle/config.json: no such file or directory
}
