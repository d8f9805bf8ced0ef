package ociruntime

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// isolate makes the mounts of the run private to it.
func (s *supervisor) isolate() error {
	if !s.req.PIDNS {
		// What the runtime leaves behind comes to us, not to the machine's init.
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("become subreaper: %w", err)
		}
	}
	if !s.req.Private {
		if err := os.Mkdir(s.tmp, 0o700); err != nil {
			return fmt.Errorf("create runtime state: %w", err)
		}
		return nil
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if s.req.PIDNS {
		if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
			return fmt.Errorf("mount /proc for the pid namespace: %w", err)
		}
	}
	if s.req.HideMount != "" {
		if err := unix.Mount("tmpfs", s.req.HideMount, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "size=1m,mode=755"); err != nil {
			return fmt.Errorf("cover %s: %w", s.req.HideMount, err)
		}
	}
	if err := unix.Mount("tmpfs", s.tmp, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=700,size=64m"); err != nil {
		return fmt.Errorf("mount runtime state: %w", err)
	}
	s.mounted = true
	return nil
}

// start runs the runtime and returns the pid of the container's first
// process. With a terminal it creates and starts in two steps, so that
// the program finds its window size set.
func (s *supervisor) start(ctx context.Context) (int, error) {
	pidFile := filepath.Join(s.tmp, "pid")
	options := []string{"--bundle", s.req.Bundle, "--pid-file", pidFile}
	if noPivot() {
		options = append(options, "--no-pivot")
	}
	if !s.req.Terminal {
		s.begin()
		options = append([]string{"--detach"}, options...)
		if err := s.runtime(ctx, "run", append(options, s.req.ID)...); err != nil {
			return 0, err
		}
		return s.readPID(pidFile)
	}
	console, err := s.listenConsole()
	if err != nil {
		return 0, err
	}
	defer func() { _ = console.Close() }()
	options = append(options, "--console-socket", console.Addr().String(), s.req.ID)
	if err := s.runtime(ctx, "create", options...); err != nil {
		return 0, err
	}
	if err := s.passConsole(console); err != nil {
		return 0, err
	}
	s.begin()
	if err := s.runtime(ctx, "start", s.req.ID); err != nil {
		return 0, err
	}
	return s.readPID(pidFile)
}

// begin notes that from here the container may be at work.
func (s *supervisor) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.starting = true
}

// runtime runs one command of the runtime on the container's streams.
func (s *supervisor) runtime(ctx context.Context, command string, args ...string) error {
	cmd := exec.CommandContext(ctx, s.cmdline.path)
	cmd.Args = s.cmdline.args(command, args...)
	cmd.Env = runtimeEnv()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	log, readErr := os.ReadFile(s.cmdline.log)
	if readErr != nil && !errors.Is(readErr, os.ErrNotExist) {
		return fmt.Errorf("read log of %s: %w", s.cmdline.path, readErr)
	}
	name := filepath.Base(s.cmdline.path)
	text := trimPrefixes(lastError(log))
	if text == "" {
		// An empty detail lets the caller fill in what standard error says.
		return &StartError{Code: CodeFailed, Op: fmt.Sprintf("start container with %s (%v)", name, err)}
	}
	return &StartError{Code: classify(text), Op: "start container with " + name, Detail: advise(text)}
}

// deleteContainer runs the runtime's delete: stop hooks, control groups,
// state. Its failure is made good by what follows.
func (s *supervisor) deleteContainer(ctx context.Context) {
	if _, err := os.Stat(s.cmdline.root); err != nil {
		return // the runtime never came as far
	}
	const patience = 10 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.cmdline.path)
	cmd.Args = s.cmdline.args("delete", "--force", s.req.ID)
	cmd.Env = runtimeEnv()
	_ = cmd.Run()
}

// listenConsole opens the socket on which the runtime hands over the
// terminal's master.
func (s *supervisor) listenConsole() (*net.UnixListener, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(s.tmp, "console"), Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen for console: %w", err)
	}
	return l, nil
}

// passConsole takes the terminal's master from the runtime, sets its size,
// and hands it to the caller.
func (s *supervisor) passConsole(l *net.UnixListener) error {
	// The runtime has succeeded, so it has sent the master already.
	if err := l.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return fmt.Errorf("wait for console: %w", err)
	}
	c, err := l.AcceptUnix()
	if err != nil {
		return fmt.Errorf("wait for console: %w", err)
	}
	defer func() { _ = c.Close() }()
	rights := make([]byte, unix.CmsgSpace(4))
	name := make([]byte, 4096)
	_, n, _, _, err := c.ReadMsgUnix(name, rights)
	if err != nil {
		return fmt.Errorf("receive console: %w", err)
	}
	master := passedFile(rights[:n])
	if master == nil {
		return errors.New("receive console: the runtime sent no descriptor")
	}
	defer func() { _ = master.Close() }()
	if s.req.Size != nil {
		if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, s.req.Size); err != nil {
			return fmt.Errorf("set window size: %w", err)
		}
	}
	return s.conn.send(message{Kind: kindConsole}, master)
}

func (s *supervisor) readPID(path string) (int, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, &StartError{
			Code: CodeFailed, Op: "start container with " + filepath.Base(s.cmdline.path),
			Detail: "it ended without an error and started nothing; is it an OCI runtime?",
		}
	}
	if err != nil {
		return 0, fmt.Errorf("read pid file: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 {
		return 0, fmt.Errorf("read pid file: %q is no process id", text)
	}
	return pid, nil
}

// noPivot says whether the root is an initial ramdisk, from which
// pivot_root(2) is refused.
func noPivot() bool {
	var st unix.Statfs_t
	return unix.Statfs("/", &st) == nil && st.Type == unix.RAMFS_MAGIC
}
