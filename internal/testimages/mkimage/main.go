// Command mkimage makes the benchmark's images and prints their directories:
//
//	go run ./internal/testimages/mkimage base|debian|five|large|many...
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/byhand/byhand/internal/testimages"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mkimage:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, names []string) error {
	recipes := map[string]func() testimages.Recipe{
		"debian": testimages.Debian, "five": testimages.Five, "large": testimages.Large,
		"many": testimages.Many, "base": testimages.Base,
	}
	for _, name := range names {
		recipe := recipes[name]
		if recipe == nil {
			return fmt.Errorf("make image %q: no such recipe", name)
		}
		dir, err := testimages.Build(ctx, recipe())
		if err != nil {
			return err
		}
		if _, err := fmt.Println(dir); err != nil {
			return err
		}
	}
	return nil
}
