// Command mkdemo writes the demo image as an OCI image layout:
//
//	go run ./internal/demo/mkdemo [-arch amd64,arm64] [-tag TAG] DIR
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"

	"github.com/byhand/byhand/internal/demo"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mkdemo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	arch := flag.String("arch", runtime.GOARCH, "architectures, separated by commas; several make an index")
	tag := flag.String("tag", "latest", "name of the image in the layout")
	flag.Parse()
	if flag.NArg() != 1 {
		return fmt.Errorf("make demo image: expected one argument, the directory to make")
	}
	o := demo.Options{Tag: *tag, Programs: map[string][]byte{}}
	for a := range strings.SplitSeq(*arch, ",") {
		program, err := demo.Compile(ctx, a)
		if err != nil {
			return err
		}
		o.Programs[a] = program
	}
	root, err := demo.Build(flag.Arg(0), o)
	if err != nil {
		return err
	}
	_, err = fmt.Println(root.Digest)
	return err
}
