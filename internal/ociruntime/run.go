package ociruntime

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/userns"
)

// Run starts the bundle's container and returns its exit code once it and
// everything made for it has gone. An error comes with the code that docker
// run would have: 125, 126 or 127, and [StartError] or [MissingError] says why.
//
// While it runs, Run takes the signals that this process gets and passes
// them on. When ctx ends, the container is killed and Run returns ctx's error:
// a caller that ends contexts on signals gives Run one without.
func Run(ctx context.Context, o Options) (int, error) {
	if err := ctx.Err(); err != nil {
		return CodeFailed, err
	}
	r, err := newRequest(o)
	if err != nil {
		return CodeFailed, err
	}
	if o.Observe != nil {
		o.Observe(Plan{Runtime: r.Runtime, Bundle: r.Bundle, ID: r.ID, Terminal: r.Terminal, Private: r.Private, PIDNS: r.PIDNS})
	}
	sweep(r.StateDir)
	io, err := plumb(o, r.Terminal)
	if err != nil {
		return CodeFailed, err
	}
	defer io.close()
	s := session{opts: o, req: r, io: io, signals: newSignals()}
	defer s.signals.stop()
	if err := s.start(); err != nil {
		return CodeFailed, err
	}
	return s.follow(ctx)
}

// newRequest checks the options and collects what the supervisor needs.
func newRequest(o Options) (request, error) {
	path, err := Find(o.Runtime)
	if err != nil {
		return request{}, err
	}
	bundle, err := filepath.Abs(o.Bundle)
	if err != nil {
		return request{}, fmt.Errorf("find bundle %s: %w", o.Bundle, err)
	}
	conf, err := readConfig(bundle)
	if err != nil {
		return request{}, err
	}
	r := request{Runtime: path, Bundle: bundle, ID: o.ID, Terminal: conf.Process.Terminal}
	if r.ID == "" {
		var random [8]byte
		_, _ = rand.Read(random[:]) // never fails, crypto/rand
		r.ID = "byhand-" + hex.EncodeToString(random[:])
	}
	if strings.ContainsAny(r.ID, "/\x00") || r.ID == "." || r.ID == ".." {
		return request{}, fmt.Errorf("run container: id %q is not a file name", r.ID)
	}
	if o.Prepare != nil {
		if r.Prepare, err = json.Marshal(o.Prepare); err != nil {
			return request{}, fmt.Errorf("encode preparation: %w", err)
		}
	}
	if err := r.isolation(o, conf); err != nil {
		return request{}, err
	}
	if r.Cgroups, err = cgroupDirs(r.ID); err != nil {
		return request{}, err
	}
	r.terminal(o)
	return r, nil
}

// isolation decides which namespaces this process can put around the run, and
// where its record is.
func (r *request) isolation(o Options, conf config) error {
	status, err := userns.Inspect()
	if err != nil {
		return err
	}
	if err := conf.checkIDs(status); err != nil && status.Kind != userns.Unprivileged {
		return err
	}
	if r.StateDir, err = stateDir(o.StateDir, status); err != nil {
		return err
	}
	r.Private = status.Mount
	if !r.Private && r.Prepare != nil {
		return errors.New("prepare bundle: mounting takes CAP_SYS_ADMIN, as root or in a user namespace")
	}
	r.PIDNS = r.Private && conf.ownsPIDs()
	if r.Private {
		r.HideMount = hybridCgroup(r.Runtime)
	}
	return nil
}

// session is a run as the caller's process sees it.
type session struct {
	opts    Options
	req     request
	io      *plumbing
	signals *signals

	interrupts interrupts

	conn *conn
	cmd  *exec.Cmd
	tty  *terminal // in raw mode while a console is attached
}

// start starts the supervisor.
func (s *session) start() error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("create control socket: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "control")
	defer func() { _ = theirs.Close() }()
	if s.conn, err = newConn(os.NewFile(uintptr(fds[0]), "control")); err != nil {
		return err
	}
	req, err := writeRequest(s.req)
	if err != nil {
		s.conn.close()
		return err
	}
	defer func() { _ = req.Close() }()
	files := []*os.File{theirs, req}
	if s.req.Restore != nil {
		files = append(files, s.opts.Stdin)
	}
	s.cmd = &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{os.Args[0], supervisorArg, s.req.ID},
		Stdin: s.io.child[0], Stdout: s.io.child[1], Stderr: s.io.child[2],
		ExtraFiles: files,
		// Its own session: what is typed on the terminal reaches the
		// container through us, once.
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, Cloneflags: s.req.cloneflags()},
	}
	err = s.cmd.Start()
	runtime.KeepAlive(files)
	s.io.started()
	if err != nil {
		s.conn.close()
		return &StartError{Code: CodeFailed, Op: "create namespaces", Detail: err.Error()}
	}
	return nil
}

func (r request) cloneflags() uintptr {
	var flags uintptr
	if r.Private {
		flags |= unix.CLONE_NEWNS
	}
	if r.PIDNS {
		flags |= unix.CLONE_NEWPID
	}
	return flags
}

// packet is a received message.
type packet struct {
	message
	file *os.File
}

// follow relays between the supervisor, the terminal and the signals until
// the run has ended.
func (s *session) follow(ctx context.Context) (int, error) {
	packets := make(chan packet, 16)
	go func() {
		defer close(packets)
		for {
			m, f, err := s.conn.receive()
			if err != nil {
				return
			}
			packets <- packet{m, f}
		}
	}()
	stop := context.AfterFunc(ctx, func() {
		_ = s.conn.send(message{Kind: kindSignal, Signal: int(unix.SIGKILL)}, nil)
	})
	defer stop()
	end := s.relay(packets)
	s.conn.close()
	waitErr := s.cmd.Wait()
	return s.result(ctx, end, waitErr)
}

// relay returns the supervisor's last word, or nil if it had none.
func (s *session) relay(packets <-chan packet) *message {
	for {
		select {
		case p, ok := <-packets:
			if !ok {
				return nil
			}
			switch p.Kind {
			case kindConsole:
				s.attach(p.file)
			case kindStarted:
				s.io.release()
			case kindStopped:
				s.suspend()
			case kindEnded, kindFailed:
				return &p.message
			}
		case sig := <-s.signals.c:
			s.handle(sig)
		}
	}
}

// result drains the streams and turns the last word into Run's.
func (s *session) result(ctx context.Context, end *message, waitErr error) (int, error) {
	defer s.detach()
	if end == nil {
		s.io.discard()
		sweep(s.req.StateDir)
		return CodeFailed, &StartError{Code: CodeFailed, Op: "run container", Detail: fmt.Sprintf("the supervisor ended early: %v", waitErr)}
	}
	if end.Kind == kindFailed {
		said := s.io.discard()
		err := &StartError{Code: end.Code, Op: end.Op, Detail: end.Text}
		if err.Detail == "" {
			err.Detail = said
			if err.Code = classify(said); err.Code == CodeFailed && end.Code == CodeNotExec {
				err.Code = CodeNotExec
			}
		}
		if ctx.Err() != nil {
			return err.Code, ctx.Err()
		}
		return err.Code, err
	}
	if code, interrupted := s.drain(); interrupted {
		return code, nil
	}
	if ctx.Err() != nil {
		return end.Code, ctx.Err()
	}
	if err := s.io.lost(); err != nil {
		return CodeFailed, err
	}
	return end.Code, nil
}

// drain waits until the container's last output is written. A signal that
// asks for an end ends that too.
func (s *session) drain() (code int, interrupted bool) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.io.drain()
	}()
	for {
		select {
		case <-done:
			return 0, false
		case sig := <-s.signals.c:
			switch sig {
			case unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT:
				return codeSignalled + int(sig), true
			}
		}
	}
}
