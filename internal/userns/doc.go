// Package userns gives an ordinary user the ids that unpacking, mounting and
// running need: it runs the current command once more inside a user
// namespace and a mount namespace of its own.
//
// # What a caller does
//
// The first statement of main is
//
//	if code, ok := userns.Child(os.Args); ok {
//		os.Exit(code)
//	}
//
// and a command that needs ids asks [Inspect] what it has. Where the answer
// is [Unprivileged] it calls [Enter], which returns the exit code of the same
// command line run inside the namespace. There [Inspect] answers [Mapped] or
// [SingleID] and the command goes its ordinary way.
//
// # How the namespace is made
//
// A Go process has several threads from its first instruction on, and such a
// process may not change its user namespace. So Enter starts
// /proc/self/exe with a hidden first argument and CLONE_NEWUSER; that child
// waits on an inherited socket while the parent writes its id maps, with
// newuidmap(1) and newgidmap(1) for the ranges of /etc/subuid and
// /etc/subgid, or itself for a map of one id. The child then proves that the
// namespace is of use (it makes the mount tree a slave of the host's), and
// executes the original command line in its own place.
//
//	user         parent: waits, forwards signals, passes the exit code on
//	  └─ uid 0   child: the command itself, in the namespaces
//
// Standard streams, terminal, process group, working directory and
// environment are the caller's. The child dies with the parent, SIGKILL
// included (PR_SET_PDEATHSIG).
//
// Whether a process is inside is read from the kernel (its id maps and
// capability sets), never from an argument or a variable, so nothing that a
// caller may set makes byhand believe that it has been through here. The
// hidden argument is of no use to anybody else: without the socket it is an
// error, and with one it does no more than clone(2) allowed already.
package userns
