// Package testdaemon runs servers for tests, each on a loopback port of its own.
package testdaemon

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is a hundred times what a start takes on an idle machine.
const patience = time.Minute

// Daemon is a running server.
type Daemon struct {
	Addr string // host:port
	stop func()
}

// Stop ends the server before the test does. It may be called again.
func (d Daemon) Stop() { d.stop() }

// Start runs the server that command returns, and waits until it listens on
// addr, a free port of 127.0.0.1. It ends with the test, by SIGTERM, or with the
// test's process; what it wrote is logged if the test failed.
//
// Between choosing a port and the server's taking it another process may: a
// server that ends at once is tried again with another port, and one that
// answers counts only if it is the one that was started.
func Start(t testing.TB, command func(addr string) *exec.Cmd) Daemon {
	t.Helper()
	var said string
	for range 5 {
		addr := freeAddr(t)
		r := run(t, command(addr))
		if said = r.await(addr); said == "" {
			t.Cleanup(func() {
				r.stop()
				if t.Failed() {
					t.Logf("%s said: %s", r.cmd.Path, r.log.String())
				}
			})
			return Daemon{Addr: addr, stop: r.stop}
		}
		r.stop()
	}
	t.Fatal(said)
	return Daemon{}
}

// running is a server's process.
type running struct {
	cmd   *exec.Cmd
	log   bytes.Buffer
	ended chan struct{}
	stop  func()
}

func run(t testing.TB, cmd *exec.Cmd) *running {
	t.Helper()
	r := &running{cmd: cmd, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &r.log, &r.log
	cmd.WaitDelay = patience // a worker may have the pipes open
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// The signal comes when the thread ends that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // stopped in the end, or seen not to listen
			close(r.ended)
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	r.stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-r.ended:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			<-r.ended
		}
	})
	return r
}

// await waits until the process listens on addr; it returns why it never will,
// or nothing.
func (r *running) await(addr string) string {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		select {
		case <-r.ended:
			return fmt.Sprintf("%s ended: %s", r.cmd.Path, r.log.String())
		default:
		}
		if listens(r.cmd.Process.Pid, addr) {
			return ""
		}
	}
	return fmt.Sprintf("%s does not listen on %s", r.cmd.Path, addr)
}

// listens tells whether the process itself listens on addr, by the socket's
// inode in proc_net(5).
func listens(pid int, addr string) bool {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return false
	}
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return false
	}
	const listening = "0A" // TCP_LISTEN of linux/tcp_states.h
	inodes := map[string]bool{}
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) > 9 && f[3] == listening && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", n)) {
			inodes["socket:["+f[9]+"]"] = true
		}
	}
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid)) // a constant pattern
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && inodes[to] {
			return true
		}
	}
	return false
}

func freeAddr(t testing.TB) string {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}
