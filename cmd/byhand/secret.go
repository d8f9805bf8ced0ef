package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// maxSecret bounds a login that is read, in bytes.
const maxSecret = 64 << 10

// readSecret reads a login: from a terminal a line, from elsewhere all there
// is, as a password may have several lines; keys of service accounts do. It
// ends with ctx, also while nothing comes; then a goroutine goes on waiting.
func readSecret(ctx context.Context, in *os.File) (string, error) {
	type answer struct {
		secret string
		err    error
	}
	c := make(chan answer, 1)
	go func() {
		var a answer
		if term.IsTerminal(int(in.Fd())) {
			a.secret, a.err = bufio.NewReader(io.LimitReader(in, maxSecret)).ReadString('\n')
		} else {
			a.secret, a.err = readBounded(in)
		}
		c <- a
	}()
	select {
	case a := <-c:
		if a.err != nil && !errors.Is(a.err, io.EOF) {
			return "", a.err
		}
		return strings.TrimRight(a.secret, "\r\n"), nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func readBounded(in io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(in, maxSecret+1))
	if err == nil && len(b) > maxSecret {
		err = fmt.Errorf("expected at most %d bytes, found more", maxSecret)
	}
	return string(b), err
}
