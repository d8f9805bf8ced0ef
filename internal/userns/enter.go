package userns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/heed"
	"github.com/byhand/byhand/internal/suspend"
)

// childArg is the hidden first argument of the process that becomes the
// command inside the namespace.
const childArg = "__userns-child"

// Options for [Enter]; the zero value runs the current command line.
type Options struct {
	// Args is the command line to run inside, program name first; nil means
	// os.Args.
	Args []string
	// Plan is the mapping; nil means what [MakePlan] says.
	Plan *Plan
	// Refused, if set, is told why the helpers did not map the ranges of the
	// plan, before Enter goes on with one ID.
	Refused func(error)
}

// Enter runs the command inside a user namespace and a mount namespace and
// returns its exit code, 128+n when signal n ended it. An error means that
// the command was not started; [UnavailableError] says why user namespaces
// cannot be had.
//
// Where the helpers refuse the ranges of a plan, Enter falls back on a map of
// one id; the process inside sees that as [SingleID].
//
// ctx ends the command with SIGKILL; a caller that wants it to end in its
// own way leaves ctx alone and lets Enter forward the signals it gets.
func Enter(ctx context.Context, o Options) (int, error) {
	args := o.Args
	if args == nil {
		args = os.Args
	}
	plan := o.Plan
	if plan == nil {
		p, err := MakePlan()
		if err != nil {
			return 0, err
		}
		plan = &p
	}
	// The child's PR_SET_PDEATHSIG fires when the thread that made it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	signals := make(chan os.Signal, 64)
	heed.Notify(signals, append(forwarded(), unix.SIGTSTP, unix.SIGCHLD)...)
	defer signal.Stop(signals)
	c, err := startChild(ctx, args, *plan)
	var refused *mapError
	if errors.As(err, &refused) && plan.UIDs > 1 {
		one := *plan
		one.single(os.Geteuid(), os.Getegid(), refused.Error(), "")
		if o.Refused != nil {
			o.Refused(refused)
		}
		c, err = startChild(ctx, args, one)
	}
	if errors.As(err, &refused) {
		// Not even one id: root without CAP_SETFCAP may not map itself,
		// user_namespaces(7), as in a container without capabilities.
		err = unavailable(refused.what, refused.err)
	}
	if err != nil {
		return 0, err
	}
	return c.wait(signals)
}

// child is the started command.
type child struct{ cmd *exec.Cmd }

// startChild starts the hidden stage, maps its ids, lets it go on, and
// returns once it has executed args.
func startChild(ctx context.Context, args []string, plan Plan) (*child, error) {
	ours, theirs, err := socketpair()
	if err != nil {
		return nil, err
	}
	defer func() { _ = ours.Close() }()
	// An inherited descriptor keeps its number; ExtraFiles would overwrite
	// descriptor 3, which may be the caller's own.
	if _, err := unix.FcntlInt(theirs.Fd(), unix.F_SETFD, 0); err != nil {
		_ = theirs.Close()
		return nil, fmt.Errorf("prepare user namespace: %w", err)
	}
	hidden := append([]string{args[0], childArg, strconv.Itoa(int(theirs.Fd()))}, args...)
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: hidden,
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
			AmbientCaps: allCaps(),
		},
	}
	err = cmd.Start()
	_ = theirs.Close()
	if err != nil {
		return nil, unavailable("create user namespace", err)
	}
	if err := handshake(ctx, ours, cmd.Process.Pid, plan); err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, err
	}
	return &child{cmd}, nil
}

// order is what the parent tells the child; report is what comes back when
// the child cannot go on.
type (
	order  struct{ Parent int }
	report struct {
		Op    string
		Errno int
		Text  string
	}
)

// handshake writes the maps, lets the child go on and waits until it has
// executed the command, which closes its end of the socket.
func handshake(ctx context.Context, conn *os.File, pid int, plan Plan) error {
	stop := context.AfterFunc(ctx, func() { _ = unix.Shutdown(int(conn.Fd()), unix.SHUT_RDWR) })
	defer stop()
	if err := writeMaps(ctx, pid, plan); err != nil {
		return err
	}
	if err := json.NewEncoder(conn).Encode(order{Parent: os.Getpid()}); err != nil {
		return fmt.Errorf("start command in user namespace: %w", err)
	}
	var r report
	err := json.NewDecoder(conn).Decode(&r)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return fmt.Errorf("start command in user namespace: %w", err)
	}
	if r.Errno != 0 {
		return unavailable(r.Op, syscall.Errno(r.Errno))
	}
	return unavailable(r.Op, errors.New(r.Text))
}

// wait forwards signals until the command ends. Stop signals are not among
// them: the terminal sends those to both, as they are one process group. But
// only when the command has stopped does this process: to a shell it is the
// job, and what the shell sends to continue it must not come before the
// command stops.
func (c *child) wait(signals <-chan os.Signal) (int, error) {
	done := make(chan error, 1)
	go func() { done <- c.cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			switch s {
			case unix.SIGTSTP:
			case unix.SIGCHLD:
				if c.stopped() {
					suspend.Self()
				}
			default:
				_ = c.cmd.Process.Signal(s) // it may have ended just now
			}
		case err := <-done:
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				return 0, fmt.Errorf("wait for command in user namespace: %w", err)
			}
			if ws, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
				return 128 + int(ws.Signal()), nil
			}
			return c.cmd.ProcessState.ExitCode(), nil
		}
	}
}

// stopped says whether the command has been stopped since it was last asked.
func (c *child) stopped() bool {
	var info unix.Siginfo // stays zero if not, waitid(2)
	for {
		err := unix.Waitid(unix.P_PID, c.cmd.Process.Pid, &info, unix.WSTOPPED|unix.WNOHANG, nil)
		if !errors.Is(err, unix.EINTR) {
			return err == nil && info.Signo == int32(unix.SIGCHLD)
		}
	}
}

// forwarded lists every signal that is passed on: those that a person or a
// program sends on purpose.
func forwarded() []os.Signal {
	return []os.Signal{
		unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2,
		unix.SIGALRM, unix.SIGWINCH, unix.SIGVTALRM, unix.SIGPROF, unix.SIGIO, unix.SIGPWR,
	}
}

func socketpair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("create socket pair: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "userns-parent"), os.NewFile(uintptr(fds[1]), "userns-child"), nil
}

// allCaps lists every capability that this kernel knows.
func allCaps() []uintptr {
	var caps []uintptr
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		if _, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0); err != nil {
			break // a kernel older than our list
		}
		caps = append(caps, c)
	}
	return caps
}
