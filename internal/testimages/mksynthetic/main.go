// Command mksynthetic makes an image for scripts/bench-growth, as an OCI layout:
//
//	go run ./internal/testimages/mksynthetic DIR LAYERS FILES BYTES
package main

import (
	"fmt"
	"os"
	"strconv"

	"github.com/byhand/byhand/internal/testimages"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "mksynthetic:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("expected DIR LAYERS FILES BYTES, found %d operands", len(args))
	}
	var n [3]int64
	for i, arg := range args[1:] {
		v, err := strconv.ParseInt(arg, 10, 64)
		if err != nil || v < 1 {
			return fmt.Errorf("number %q: expected 1 or more", arg)
		}
		n[i] = v
	}
	return testimages.Synthetic{Layers: int(n[0]), Files: int(n[1]), Bytes: n[2]}.Write(args[0])
}
