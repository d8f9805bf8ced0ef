package ociruntime

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ending lists the signals that end an ordinary process which does not
// handle them, and that people send for that purpose.
var ending = []int{int(unix.SIGHUP), int(unix.SIGINT), int(unix.SIGQUIT), int(unix.SIGTERM), int(unix.SIGKILL)}

// listen takes the caller's messages until the caller has gone, which ends
// the container.
func (s *supervisor) listen() {
	for {
		m, _, err := s.conn.receive()
		if err != nil {
			s.mu.Lock()
			s.orphan = true
			s.mu.Unlock()
			s.end(int(unix.SIGKILL))
			return
		}
		switch m.Kind {
		case kindSignal:
			s.signal(m.Signal)
		case kindEnd:
			s.end(m.Signal)
		case kindStop:
			s.killAll(unix.SIGSTOP)
			_ = s.conn.send(message{Kind: kindStopped}, nil) // a caller that has gone is seen above
		case kindCont:
			s.killAll(unix.SIGCONT)
		}
	}
}

// signal passes a signal on, or keeps it until there is a container. One that
// asks for an end is obeyed at once where no container can have started. While
// the runtime is starting it, the program may be at work, and seen to be, before
// the runtime says so: the first such signal is the program's to answer.
func (s *supervisor) signal(sig int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.pid != 0:
		s.deliver(sig)
	case !slices.Contains(ending, sig):
		s.pending = append(s.pending, sig)
	case s.starting && !s.asked && sig != int(unix.SIGKILL):
		s.asked = true
		s.pending = append(s.pending, sig)
		const patience = 20 * time.Second // with a runtime that hangs
		time.AfterFunc(patience, func() { s.endUnlessStarted(sig) })
	default:
		s.endLocked(sig)
	}
}

func (s *supervisor) endUnlessStarted(sig int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.starting {
		s.endLocked(sig)
	}
}

// deliver sends sig to the container's first process; s.mu is held. The
// kernel drops a signal for the first process of a pid namespace that has
// not asked for it, so what would have ended an ordinary process is done
// for it.
func (s *supervisor) deliver(sig int) {
	if slices.Contains(ending, sig) && sig != int(unix.SIGKILL) {
		switch reactionTo(s.pid, sig) {
		case defaultReaction:
			s.killed = sig
			sig = int(unix.SIGKILL)
		case blockedReaction, pendingReaction:
			go s.watch(s.pid, sig)
		}
	}
	_ = unix.Kill(s.pid, unix.Signal(sig)) // it may have ended just now; it is not reaped under s.mu
}

// watch ends the container if its first process, pid, which had sig blocked when
// it came, has no other use for it: the C library blocks all signals around a
// fork, say, and what the process unblocks then has its default action, for which
// the kernel drops it. Who has it blocked for good takes it with sigwait(3).
func (s *supervisor) watch(pid, sig int) {
	const looks = 10 // about a second, after it was taken or dropped
	pause := time.Millisecond
	for n := 0; n < looks; {
		time.Sleep(pause)
		pause = min(2*pause, 100*time.Millisecond)
		switch s.look(pid, sig) {
		case blockedReaction:
			n++
		case pendingReaction:
		default:
			return
		}
	}
}

// look returns what pid would do with sig, and ends the container where that is
// the default action.
func (s *supervisor) look(pid, sig int) reaction {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pid != pid {
		return ownReaction
	}
	r := reactionTo(pid, sig)
	if r == defaultReaction {
		s.endLocked(sig)
	}
	return r
}

// end gives the run up: the container is killed, and what leads to it is
// cancelled.
func (s *supervisor) end(sig int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLocked(sig)
}

// endLocked is end for those who hold s.mu.
func (s *supervisor) endLocked(sig int) {
	if s.killed == 0 {
		s.killed = sig
	}
	if s.pid != 0 {
		_ = unix.Kill(s.pid, unix.SIGKILL)
	}
	s.giveUp()
}

// killAll signals every process of the run but this one. Without a pid
// namespace of our own it reaches the container's first process only.
func (s *supervisor) killAll(sig unix.Signal) {
	if s.req.PIDNS && os.Getpid() == 1 { // elsewhere -1 would be the whole machine
		_ = unix.Kill(-1, sig) // none is left, at the end
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pid != 0 {
		_ = unix.Kill(s.pid, sig)
	}
}

// reapAll waits for every process of the pid namespace, after SIGKILL to all.
func reapAll() {
	if os.Getpid() != 1 {
		return
	}
	for retry(func() error { _, err := unix.Wait4(-1, nil, 0, nil); return err }) == nil {
		continue // until none is left
	}
}

// killChildren ends what the container left behind outside a pid namespace: as
// a subreaper this process has inherited it, generation by generation.
func killChildren() {
	const generations = 100 // a process tree deeper than this stays
	for range generations {
		tasks, _ := filepath.Glob("/proc/self/task/*/children") // a constant pattern
		found := false
		for _, task := range tasks {
			text, err := os.ReadFile(task)
			if err != nil {
				continue
			}
			for field := range strings.FieldsSeq(string(text)) {
				if pid, err := strconv.Atoi(field); err == nil {
					found = true
					_ = unix.Kill(pid, unix.SIGKILL) // ours until the next line, so not another's
					_ = retry(func() error { _, err := unix.Wait4(pid, nil, 0, nil); return err })
				}
			}
		}
		if !found {
			return
		}
	}
}
