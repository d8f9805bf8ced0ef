package ociruntime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Inner takes over when this process was started by [Run] as its supervisor,
// and returns the exit code to end with; ok is false if args are no business
// of this package. A program calls it before anything else. prepare may be
// nil if no run asks for preparation.
func Inner(args []string, prepare PrepareFunc) (code int, ok bool) {
	if len(args) < 2 || args[1] != supervisorArg {
		return 0, false
	}
	// No descriptor of ours or of the caller's reaches the runtime.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		for fd := 3; fd < 1024; fd++ { // before Linux 5.11
			unix.CloseOnExec(fd)
		}
	}
	var r request
	if err := json.NewDecoder(os.NewFile(requestFD, "request")).Decode(&r); err != nil {
		return 2, true // not started by Run
	}
	c, err := newConn(os.NewFile(controlFD, "control"))
	if err != nil {
		return 2, true
	}
	s := newSupervisor(r, c, prepare)
	end := s.supervise()
	if err := c.send(end, nil); err != nil {
		return CodeFailed, true // the caller has gone
	}
	return 0, true
}

// supervisor is the first process of a run's namespaces.
type supervisor struct {
	req     request
	conn    *conn
	prepare PrepareFunc
	cmdline commandLine
	tmp     string // where the runtime keeps its state
	mounted bool   // and it is a tmpfs of ours

	mu       sync.Mutex
	starting bool // the runtime may have started the container
	asked    bool // and the container is to be told to end
	pid      int  // of the container's first process, once it is known to have started
	killed   int  // the signal that ended the run before or after that, or 0
	orphan   bool // the caller has gone
	giveUp   context.CancelFunc
	pending  []int // signals to deliver once there is a container
}

func newSupervisor(r request, c *conn, prepare PrepareFunc) *supervisor {
	s := &supervisor{req: r, conn: c, prepare: prepare}
	s.tmp = r.StateDir
	if !r.Private {
		s.tmp = filepath.Join(r.StateDir, r.ID+".d")
	}
	s.cmdline = commandLine{path: r.Runtime, root: filepath.Join(s.tmp, "root"), log: filepath.Join(s.tmp, "log")}
	return s
}

// supervise does the whole run and says how it ended.
func (s *supervisor) supervise() message {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.giveUp = cancel
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT)
	defer signal.Stop(signals)
	go func() {
		for range signals { // somebody wants this very process to end
			s.end(int(unix.SIGKILL))
		}
	}()
	go s.listen()

	code, err := s.recorded(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.orphan {
		s.restoreTerminal()
	}
	var start *StartError
	switch {
	case err == nil:
		return message{Kind: kindEnded, Code: code}
	case s.killed != 0:
		return message{Kind: kindEnded, Code: codeSignalled + s.killed}
	case errors.As(err, &start):
		return message{Kind: kindFailed, Code: start.Code, Op: start.Op, Text: start.Detail}
	default:
		return message{Kind: kindFailed, Code: CodeFailed, Op: "run container", Text: err.Error()}
	}
}

// recorded is run between the making and the end of its record.
func (s *supervisor) recorded(ctx context.Context) (int, error) {
	rec, err := newRecord(s.req)
	if err != nil {
		return 0, err
	}
	defer func() { rec.close(s.cleanUp(context.WithoutCancel(ctx))) }()
	return s.run(ctx)
}

// run starts the container and waits for it.
func (s *supervisor) run(ctx context.Context) (int, error) {
	if err := s.isolate(); err != nil {
		return 0, err
	}
	if s.req.Prepare != nil {
		if s.prepare == nil {
			return 0, errors.New("prepare bundle: this program has no preparation")
		}
		if err := s.prepare(ctx, s.req.Prepare); err != nil {
			return 0, &StartError{Code: CodeFailed, Op: OpPrepare, Detail: err.Error()}
		}
	}
	pid, err := s.start(ctx)
	if err != nil {
		return 0, err
	}
	st := s.awaitExec(pid)
	if st.ended() && !st.executed() {
		return s.reapUnexecuted(pid)
	}
	s.adopt(pid)
	if err := s.conn.send(message{Kind: kindStarted}, nil); err != nil {
		s.end(int(unix.SIGKILL))
	}
	return s.wait(pid)
}

// awaitExec waits until the container's first process has become the
// container's program or has ended. The runtime reports success a moment
// before that.
func (s *supervisor) awaitExec(pid int) procStat {
	const patience = 2 * time.Second // measured: under a millisecond
	deadline := time.Now().Add(patience)
	for pause := 100 * time.Microsecond; ; pause = min(2*pause, 10*time.Millisecond) {
		st, err := readStat(pid)
		if err != nil || st.executed() || st.ended() || time.Now().After(deadline) {
			return st
		}
		time.Sleep(pause)
	}
}

// reapUnexecuted ends a run whose program could not be executed. What the
// runtime says of it is on standard error, which the caller holds.
func (s *supervisor) reapUnexecuted(pid int) (int, error) {
	if _, err := s.wait(pid); err != nil {
		return 0, err
	}
	return 0, &StartError{Code: CodeNotExec, Op: "start container"}
}

// adopt makes pid the process that signals go to, and delivers those that
// came too early.
func (s *supervisor) adopt(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pid, s.starting = pid, false
	for _, sig := range s.pending {
		s.deliver(sig)
	}
	s.pending = nil
	if s.killed != 0 {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

// wait reaps the container's first process and returns its exit code.
func (s *supervisor) wait(pid int) (int, error) {
	// Its number stays taken until the second wait, so that no signal of
	// deliver can reach another process.
	if err := waitEnded(pid); err != nil {
		return 0, fmt.Errorf("wait for container: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pid = 0
	var ws unix.WaitStatus
	if err := retry(func() error { _, err := unix.Wait4(pid, &ws, 0, nil); return err }); err != nil {
		return 0, fmt.Errorf("wait for container: %w", err)
	}
	switch {
	case s.killed != 0:
		return codeSignalled + s.killed, nil
	case ws.Signaled():
		return codeSignalled + int(ws.Signal()), nil
	}
	return ws.ExitStatus(), nil
}

// waitEnded waits until our child pid has ended, without reaping it. A runtime
// that says done before its helper has ended (crun) leaves us the
// container's process a moment later.
func waitEnded(pid int) error {
	const patience = 5 * time.Second
	deadline := time.Now().Add(patience)
	for {
		err := retry(func() error { return unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) })
		if !errors.Is(err, unix.ECHILD) || time.Now().After(deadline) {
			return err
		}
		if _, statErr := readStat(pid); statErr != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

// retry repeats a system call that a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// cleanUp lets the runtime delete the container, ends what is left of it and
// removes the control groups. The error is that of the last, which need time
// that a busy machine may not have.
func (s *supervisor) cleanUp(ctx context.Context) error {
	s.killAll(unix.SIGCONT)
	s.deleteContainer(ctx)
	s.killAll(unix.SIGKILL)
	if s.req.PIDNS {
		reapAll() // a runtime that is just being killed may make a control group yet
	} else {
		killChildren()
	}
	err := removeCgroups(s.req.Cgroups)
	if s.mounted {
		_ = unix.Unmount(s.tmp, unix.MNT_DETACH) // it ends with us anyway, but hides the records
	}
	if !s.req.Private {
		removeState(s.tmp)
	}
	return err
}
