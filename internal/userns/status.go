package userns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/sys"
)

// Kind says which ids a process may use.
type Kind int

const (
	// Unprivileged is an ordinary user outside any namespace of its own.
	Unprivileged Kind = iota
	// HostRoot is uid 0 with every id of the machine (or of the container
	// that it takes for the machine).
	HostRoot
	// Mapped is uid 0 of a user namespace with more than one id.
	Mapped
	// SingleID is uid 0 of a user namespace that has no other id.
	SingleID
)

// String names the kind for messages.
func (k Kind) String() string {
	switch k {
	case HostRoot:
		return "root"
	case Mapped:
		return "root of a user namespace"
	case SingleID:
		return "root of a user namespace with one id"
	default:
		return "ordinary user"
	}
}

// Status is what the kernel says of this process.
type Status struct {
	Kind Kind
	// UIDs and GIDs count the ids that exist for this process, 0 upwards.
	UIDs, GIDs uint32
	// OuterUID is the uid by which the parent user namespace knows this
	// process's uid 0; outside a namespace it is the effective uid.
	OuterUID uint32
	// Mount says that mounting is allowed: CAP_SYS_ADMIN.
	Mount bool
	// Mknod says that device nodes other than 0:0 can be made: CAP_MKNOD,
	// outside a user namespace.
	Mknod bool
	// Owners says that files can be given to other ids: CAP_CHOWN and more
	// than one id.
	Owners bool
	// SetGroups is false where the namespace forbids setgroups(2), and with
	// it supplementary groups.
	SetGroups bool
}

// fullRange is the size of the id map outside any user namespace.
const fullRange = 1<<32 - 1

// Inspect reads the id maps and capabilities of this process.
func Inspect() (Status, error) {
	uidMap, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) { // a kernel without user namespaces
			uidMap = []byte("0 0 4294967295\n")
		} else {
			return Status{}, fmt.Errorf("read id map: %w", err)
		}
	}
	gidMap, err := os.ReadFile("/proc/self/gid_map")
	if errors.Is(err, fs.ErrNotExist) {
		gidMap, err = uidMap, nil
	}
	if err != nil {
		return Status{}, fmt.Errorf("read id map: %w", err)
	}
	uids, err := parseMap(uidMap)
	if err != nil {
		return Status{}, fmt.Errorf("read /proc/self/uid_map: %w", err)
	}
	gids, err := parseMap(gidMap)
	if err != nil {
		return Status{}, fmt.Errorf("read /proc/self/gid_map: %w", err)
	}
	caps, err := effective()
	if err != nil {
		return Status{}, err
	}
	initial, err := initialNamespace()
	if err != nil {
		return Status{}, err
	}
	setgroups, err := os.ReadFile("/proc/self/setgroups")
	return classify(facts{
		euid: os.Geteuid(), uids: uids, gids: gids, caps: caps, initial: initial,
		setgroups: err != nil || string(setgroups) != "deny\n",
	}), nil
}

// initialNamespace says whether this process is in the user namespace that
// the kernel started with. A map of every id is no proof: root may map
// them all into a namespace of its own.
func initialNamespace() (bool, error) {
	n, err := namespaceNumber()
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil // a kernel without user namespaces
	}
	return n == 0xEFFFFFFD, err // PROC_USER_INIT_INO, linux/proc_ns.h
}

// namespaceNumber is the inode number of this process's user namespace.
func namespaceNumber() (uint64, error) {
	const path = "/proc/self/ns/user"
	var st unix.Stat_t
	if err := sys.Stat(path, &st); err != nil {
		return 0, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return st.Ino, nil
}

// facts is what Inspect collected.
type facts struct {
	euid               int
	uids, gids         idMap
	caps               uint64
	initial, setgroups bool
}

// classify judges the facts.
func classify(f facts) Status {
	s := Status{UIDs: f.uids.count(), GIDs: f.gids.count(), OuterUID: uint32(f.euid), SetGroups: f.setgroups}
	has := func(c uint) bool { return f.caps&(1<<c) != 0 }
	outermost := f.initial && s.UIDs == fullRange
	s.Mount = has(unix.CAP_SYS_ADMIN)
	s.Mknod = has(unix.CAP_MKNOD) && outermost
	s.Owners = has(unix.CAP_CHOWN) && s.UIDs > 1
	switch {
	case f.euid != 0:
		s.Kind = Unprivileged
	case outermost:
		s.Kind = HostRoot
	case s.UIDs > 1 && s.GIDs > 1:
		s.Kind = Mapped
	default:
		s.Kind = SingleID
	}
	if outer, ok := f.uids.outer(0); ok && f.euid == 0 {
		s.OuterUID = outer
	}
	return s
}

// NeedsEnter says that [Enter] would give this process what it lacks for
// mounting: it is an ordinary user, or root without CAP_SYS_ADMIN, as in a
// container.
func (s Status) NeedsEnter() bool { return s.Kind == Unprivileged || !s.Mount }

// String describes the status in one phrase.
func (s Status) String() string {
	text := s.Kind.String()
	switch s.Kind {
	case Mapped:
		text += fmt.Sprintf(" with %d uids and %d gids", s.UIDs, s.GIDs)
	case Unprivileged:
		text += fmt.Sprintf(" with uid %d", s.OuterUID)
	}
	switch {
	case s.Kind == Unprivileged:
	case !s.Mount:
		text += ", without CAP_SYS_ADMIN"
	case s.Kind == HostRoot && !s.Mknod:
		text += ", without CAP_MKNOD"
	}
	return text
}

// effective returns the effective capability set of this thread.
func effective() (uint64, error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return 0, fmt.Errorf("read capabilities: %w", err)
	}
	return uint64(data[1].Effective)<<32 | uint64(data[0].Effective), nil
}

// userName returns the login name of uid, or the number where it has none.
func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return strconv.Itoa(uid)
}
