package logins

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/docker/docker-credential-helpers/client"
	"github.com/docker/docker-credential-helpers/credentials"
)

const (
	helperPrefix = "docker-credential-"

	// helperTimeout bounds a helper: one that waits for a person who is not
	// there must not hang a pull. Some helpers ask a cloud first.
	helperTimeout = 30 * time.Second

	// tokenUser is the user name that marks a password as an identity token.
	tokenUser = "<token>"

	maxHelperOutput = 1 << 20
)

// askHelper asks docker-credential-NAME, which must be on PATH, for the login
// that it keeps under key.
func askHelper(ctx context.Context, name, key string) (Login, bool, error) {
	program := helperPrefix + name
	if name != filepath.Base(name) {
		return Login{}, false, fmt.Errorf("run credential helper: %q is not the name of one", name)
	}
	ctx, cancel := context.WithTimeout(ctx, helperTimeout)
	defer cancel()
	run := func(args ...string) client.Program {
		return &helper{cmd: exec.CommandContext(ctx, program, args...)}
	}
	c, err := client.Get(run, key)
	switch {
	case err == nil && c.Username == "" && c.Secret == "":
		return Login{}, false, nil
	case err == nil && c.Username == tokenUser:
		return Login{IdentityToken: c.Secret}, true, nil
	case err == nil:
		return Login{Username: c.Username, Password: c.Secret}, true, nil
	case credentials.IsErrCredentialsNotFound(err), credentials.IsCredentialsMissingServerURL(err):
		return Login{}, false, nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return Login{}, false, fmt.Errorf("run credential helper %s: no answer within %s", program, helperTimeout)
	case ctx.Err() != nil:
		return Login{}, false, ctx.Err()
	}
	if _, lookErr := exec.LookPath(program); lookErr != nil {
		return Login{}, false, fmt.Errorf("run credential helper %s: not on PATH", program)
	}
	// The library's error quotes what the helper printed, which can be secret.
	return Login{}, false, fmt.Errorf("run credential helper %s: it gave no login; run `%s get` with %s on its standard input to see why", program, program, key)
}

// helper runs a helper under a context, and keeps what it prints to itself.
type helper struct{ cmd *exec.Cmd }

var _ client.Program = (*helper)(nil)

// Output runs the helper.
func (h *helper) Output() ([]byte, error) {
	var out bytes.Buffer
	h.cmd.Stdout = &limitedBuffer{buf: &out, left: maxHelperOutput}
	h.cmd.WaitDelay = time.Second // a child that keeps the pipe open
	err := h.cmd.Run()
	return out.Bytes(), err
}

// Input sets what the helper reads.
func (h *helper) Input(in io.Reader) { h.cmd.Stdin = in }

// limitedBuffer refuses more than a login can need.
type limitedBuffer struct {
	buf  *bytes.Buffer
	left int
}

func (l *limitedBuffer) Write(p []byte) (int, error) {
	if len(p) > l.left {
		return 0, errors.New("too much output")
	}
	l.left -= len(p)
	return l.buf.Write(p)
}
