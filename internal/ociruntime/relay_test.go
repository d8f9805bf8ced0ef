package ociruntime

import (
	"bufio"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/testneed"
)

func TestParseReaction(t *testing.T) {
	const term = 1 << (unix.SIGTERM - 1)
	for _, tt := range []struct {
		state                             string
		pending, blocked, ignored, caught uint64
		want                              reaction
	}{
		{"S (sleeping)", 0, 0, 0, 0, defaultReaction},
		{"S (sleeping)", ^uint64(term), ^uint64(term), ^uint64(term), ^uint64(term), defaultReaction},
		{"S (sleeping)", 0, term, 0, 0, blockedReaction},
		{"S (sleeping)", term, term, 0, 0, pendingReaction},
		{"R (running)", term, 0, 0, 0, defaultReaction},
		{"S (sleeping)", term, term, term, 0, ownReaction},
		{"S (sleeping)", term, term, 0, term, ownReaction},
		{"Z (zombie)", 0, 0, 0, 0, ownReaction},
	} {
		status := fmt.Sprintf("Name:\ta\nState:\t%s\nSigPnd:\t%016x\nShdPnd:\t%016x\nSigBlk:\t%016x\nSigIgn:\t%016x\nSigCgt:\t%016x\nCapInh:\t0\n",
			tt.state, 0, tt.pending, tt.blocked, tt.ignored, tt.caught)
		if got := parseReaction(status, int(unix.SIGTERM)); got != tt.want {
			t.Errorf("reaction %d, want %d, to a signal with\n%s", got, tt.want, status)
		}
	}
	if got := parseReaction("", int(unix.SIGTERM)); got != ownReaction {
		t.Errorf("reaction %d of a process that is not there", got)
	}
}

// blocking is a first process of a pid namespace that has SIGINT blocked until
// it is told to go on.
const blocking = `use POSIX; $| = 1; my $set = POSIX::SigSet->new(SIGINT);
sigprocmask(SIG_BLOCK, $set); print "up\n"; my $todo = <STDIN>;
if ($todo eq "unblock\n") { sigprocmask(SIG_UNBLOCK, $set); print "unblocked\n"; sleep 1000; }
my $bits = pack("Q", 1 << (SIGINT - 1)); print "took " . syscall($ARGV[0], $bits, 0, 0, 8) . "\n"; <STDIN>; exit 5;`

// TestBlockedSignal has a signal come while it is blocked: unblocked, it is the
// process's end, as it would be that of an ordinary one, and taken by sigwait(3)
// it is the process's own.
func TestBlockedSignal(t *testing.T) {
	testneed.Root(t)
	testneed.Tool(t, "perl")
	for todo, want := range map[string]struct {
		killed, code int
	}{"unblock": {int(unix.SIGINT), -1}, "take": {0, 5}} {
		t.Run(todo, func(t *testing.T) {
			cmd := exec.Command("perl", "-e", blocking, fmt.Sprint(unix.SYS_RT_SIGTIMEDWAIT))
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
			in, inErr := cmd.StdinPipe()
			out, outErr := cmd.StdoutPipe()
			if err := errors.Join(inErr, outErr, cmd.Start()); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = cmd.Process.Kill() })
			lines := bufio.NewReader(out)
			next := func() string {
				line, err := lines.ReadString('\n')
				if err != nil {
					t.Fatal(err)
				}
				return strings.TrimSpace(line)
			}
			next()
			s := &supervisor{pid: cmd.Process.Pid, giveUp: func() {}}
			s.signal(int(unix.SIGINT))
			if r := reactionTo(s.pid, int(unix.SIGINT)); r != pendingReaction {
				t.Errorf("reaction %d, want %d", r, pendingReaction)
			}
			if _, err := fmt.Fprintln(in, todo); err != nil {
				t.Fatal(err)
			}
			if todo == "take" {
				if said := next(); said != fmt.Sprint("took ", int(unix.SIGINT)) {
					t.Errorf("it said %q", said)
				}
				if r := s.look(s.pid, int(unix.SIGINT)); r != blockedReaction {
					t.Errorf("reaction %d, want %d", r, blockedReaction)
				}
				if _, err := fmt.Fprintln(in); err != nil {
					t.Fatal(err)
				}
			}
			limit := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
			defer limit.Stop()
			if err := waitEnded(cmd.Process.Pid); err != nil {
				t.Error(err)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.pid = 0
			_ = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != want.code || s.killed != want.killed {
				t.Errorf("exit code %d, ended by signal %d; want %d and %d", code, s.killed, want.code, want.killed)
			}
		})
	}
}
