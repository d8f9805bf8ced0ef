package userns

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Child takes over when this process was started by [Enter]: it waits for
// its id maps and becomes the command. It returns only if that cannot be, or
// with ok false if args are no business of this package. A program calls it
// before anything else.
func Child(args []string) (code int, ok bool) {
	if len(args) < 2 || args[1] != childArg {
		return 0, false
	}
	// What exec keeps (capabilities, the parent death signal) belongs to
	// the thread that calls it.
	runtime.LockOSThread()
	if len(args) < 4 {
		return 2, true
	}
	fd, err := strconv.Atoi(args[2])
	if err != nil || fd < 3 {
		return 2, true
	}
	unix.CloseOnExec(fd)
	conn := os.NewFile(uintptr(fd), "userns-child")
	var o order
	if err := json.NewDecoder(conn).Decode(&o); err != nil {
		return 2, true // not started by Enter, or Enter has gone
	}
	op, err := become(o, args[3:])
	r := report{Op: op, Text: err.Error()}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		r.Errno = int(errno)
	}
	_ = json.NewEncoder(conn).Encode(r) // nobody is left to tell
	return 125, true
}

// become turns this process into the command. It returns only on failure.
func become(o order, args []string) (op string, err error) {
	// Ids first: from here on this process is root of its namespace, also
	// for files that it makes.
	if err := unix.Setresgid(0, 0, 0); err != nil {
		return "become root of user namespace", err
	}
	if err := unix.Setresuid(0, 0, 0); err != nil {
		return "become root of user namespace", err
	}
	// The host's unmounts still arrive, ours do not leave.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return "mount in user namespace", err
	}
	if err := dropInherited(); err != nil {
		return "drop inheritable capabilities", err
	}
	// After the change of ids, which would clear it.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return "set parent death signal", err
	}
	if os.Getppid() != o.Parent {
		return "start command in user namespace", errors.New("the parent process has ended")
	}
	return "execute " + args[0], unix.Exec(executable(), args, entered(os.Environ()))
}

// executable names this program by its path where that still leads to it, so
// that process listings show its name.
func executable() string {
	const self = "/proc/self/exe"
	path, err := os.Readlink(self)
	if err != nil {
		return self
	}
	var a, b unix.Stat_t
	if unix.Stat(self, &a) != nil || unix.Stat(path, &b) != nil || a.Dev != b.Dev || a.Ino != b.Ino {
		return self
	}
	return path
}

// dropInherited gives up the ambient and inheritable capabilities that
// brought this process through its first exec. Root of a namespace has the
// permitted ones without them, and the programs it starts need none.
func dropInherited() error {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("clear ambient capabilities: %w", err)
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	data[0].Inheritable, data[1].Inheritable = 0, 0
	if err := unix.Capset(&hdr, &data[0]); err != nil {
		return fmt.Errorf("set capabilities: %w", err)
	}
	return nil
}
