package ociruntime

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// forkNoExec is PF_FORKNOEXEC of linux/sched.h: forked, and has not executed a
// program since. A runtime's first process of the container is such a
// fork until it becomes the container's program.
const forkNoExec = 0x40

// procStat is what is used of /proc/PID/stat.
type procStat struct {
	state byte
	flags uint64
}

// executed says whether the process has become the container's program.
func (s procStat) executed() bool { return s.flags&forkNoExec == 0 }

// ended says whether the process is waiting to be reaped.
func (s procStat) ended() bool { return s.state == 'Z' || s.state == 'X' }

func readStat(pid int) (procStat, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return procStat{}, fmt.Errorf("read process state: %w", err)
	}
	return parseStat(text)
}

// parseStat reads proc_pid_stat(5). The second field is the program's name
// in parentheses and may hold anything.
func parseStat(text []byte) (procStat, error) {
	end := bytes.LastIndexByte(text, ')')
	fields := strings.Fields(string(text[end+1:]))
	if end < 0 || len(fields) < 7 {
		return procStat{}, fmt.Errorf("read process state: %q is no stat line", text)
	}
	flags, err := strconv.ParseUint(fields[6], 10, 64)
	if err != nil {
		return procStat{}, fmt.Errorf("read process state: %w", err)
	}
	return procStat{state: fields[0][0], flags: flags}, nil
}

// reaction is what becomes of a signal that a process gets.
type reaction int

const (
	ownReaction     reaction = iota // it handles or ignores the signal, or has ended
	blockedReaction                 // it has the signal blocked, and no handler
	pendingReaction                 // the same, and one has come
	defaultReaction                 // the signal's default action
)

// reactionTo tells what process pid would do with sig now.
func reactionTo(pid, sig int) reaction {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return ownReaction
	}
	return parseReaction(string(text), sig)
}

// parseReaction reads proc_pid_status(5).
func parseReaction(status string, sig int) reaction {
	has := func(name string) bool {
		_, rest, _ := strings.Cut(status, "\n"+name+":\t")
		hex, _, _ := strings.Cut(rest, "\n")
		mask, err := strconv.ParseUint(hex, 16, 64)
		return err == nil && mask&(1<<(sig-1)) != 0
	}
	switch {
	case strings.Contains(status, "\nState:\tZ"), !strings.Contains(status, "\nSigCgt:\t"), has("SigIgn"), has("SigCgt"):
		return ownReaction
	case !has("SigBlk"):
		return defaultReaction
	case has("ShdPnd"):
		return pendingReaction
	}
	return blockedReaction
}
