package demo

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Compile builds the demo image's program for an architecture with the go
// command. It is static, and for one version of Go always the same bytes.
func Compile(ctx context.Context, arch string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "byhand-demo-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	out := filepath.Join(dir, "hello")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=",
		"-o", out, "github.com/byhand/byhand/internal/demo/hello")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOAMD64=v1", "GOFLAGS=")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("build demo program for %s: %w: %s", arch, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return os.ReadFile(out)
}
