package heed_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/byhand/byhand/internal/heed"
)

// TestMain makes this program, started with "heed" and the number of a signal,
// one that sends it to itself.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "heed" {
		said, err := heedOne(os.Args[2])
		if err != nil {
			_, _ = fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(said)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// heedOne says what became of the signal.
func heedOne(number string) (string, error) {
	n, err := strconv.Atoi(number)
	if err != nil {
		return "", err
	}
	sig := syscall.Signal(n)
	c := make(chan os.Signal, 1)
	heed.Notify(c, sig)
	ctx, stop := heed.Context(context.Background(), sig)
	defer stop()
	ignored, err := isIgnored(n)
	if err != nil {
		return "", err
	}
	if err := syscall.Kill(os.Getpid(), sig); err != nil || ignored {
		return "ignored", err // the kernel has dropped it
	}
	const patience = 2 * time.Minute
	select {
	case <-c:
	case <-time.After(patience):
		return "not notified", nil
	}
	select {
	case <-ctx.Done():
	case <-time.After(patience):
		return "context goes on", nil
	}
	var cause *heed.SignalError
	if !errors.As(context.Cause(ctx), &cause) || cause.Signal != sig || !errors.Is(cause, context.Canceled) {
		return fmt.Sprintf("context ends for %v", context.Cause(ctx)), nil
	}
	return "taken", nil
}

// isIgnored asks the kernel.
func isIgnored(sig int) (bool, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false, err
	}
	_, rest, _ := strings.Cut(string(text), "\nSigIgn:\t")
	mask, _, _ := strings.Cut(rest, "\n")
	set, err := strconv.ParseUint(mask, 16, 64)
	return set&(1<<(sig-1)) != 0, err
}

// TestIgnored starts this program as nohup and a script's background command
// are started.
func TestIgnored(t *testing.T) {
	cases := []struct {
		ignored string
		sent    syscall.Signal
		want    string
	}{
		{"", syscall.SIGHUP, "taken"},
		{"", syscall.SIGINT, "taken"},
		{"", syscall.SIGTERM, "taken"},
		{"HUP", syscall.SIGHUP, "ignored"},
		{"HUP", syscall.SIGINT, "taken"},
		{"HUP", syscall.SIGTERM, "taken"},
		{"INT QUIT", syscall.SIGINT, "ignored"},
		{"INT QUIT", syscall.SIGHUP, "taken"},
	}
	for _, c := range cases {
		trap := ""
		if c.ignored != "" {
			trap = "trap '' " + c.ignored + "; "
		}
		if ignored, err := isIgnored(int(c.sent)); err != nil {
			t.Fatal(err)
		} else if ignored {
			c.want = "ignored" // the tests themselves run under nohup, or as a script's background command
		}
		cmd := exec.Command("/bin/sh", "-c", trap+`exec "$0" heed "$1"`, os.Args[0], strconv.Itoa(int(c.sent)))
		out, err := cmd.Output()
		if got := strings.TrimSpace(string(out)); err != nil || got != c.want {
			t.Errorf("ignored %q, sent %v: got %q, %v; want %q", c.ignored, c.sent, got, err, c.want)
		}
	}
}
