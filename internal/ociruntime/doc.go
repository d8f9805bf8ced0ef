// Package ociruntime starts an OCI runtime (runc, crun or another with their
// command line) on a bundle and stays with the container until it has ended
// and everything that was made for it is gone.
//
// # Processes
//
//	caller        Run: terminal, pipes, signals
//	  └─ supervisor   Inner: private mount and pid namespace, first process in it
//	       ├─ runtime     run --detach, gone once the container has started
//	       └─ container   inherited from the runtime, waited for
//
// The supervisor is this program again: /proc/self/exe with a hidden first
// argument, its request on one inherited descriptor and a socket on another.
// It makes the mount tree a slave of the host's, puts a tmpfs where the
// runtime keeps its state, runs the caller's preparation (a mount of the
// bundle's root file system) and then the runtime.
//
// # However it ends
//
// Mounts and runtime state exist only in the supervisor's mount namespace,
// and processes only in its pid namespace; the kernel ends both with the
// supervisor. The supervisor sees the caller's death, SIGKILL included, as
// the end of its socket, kills the container, lets the runtime delete it,
// and ends. Only control groups outlive a supervisor that is itself killed.
// Each run therefore has a record, a file in [Options].StateDir that names
// them, and that the supervisor holds locked; the next [Run] removes what a
// record without a lock names. The directory goes with its last record.
//
// A bundle that shares the machine's pid namespace is run without a pid
// namespace of our own; then the supervisor adopts what is left behind
// (PR_SET_CHILD_SUBREAPER) and kills it, and only a SIGKILL of the supervisor
// itself leaves the container running. The same holds for an ordinary user's
// bundle with a user namespace in its config.json, which is run without
// private mounts.
//
// # Standard streams
//
// Where config.json says terminal, the container gets a pseudo-terminal of
// its own and the caller's terminal is in raw mode as long as it lasts.
// Otherwise it gets pipes: never the caller's terminal (whose keyboard it
// could feign) nor a file of the caller's (which runtimes give to the
// container's user). A pipe of the caller's is handed on as it is, except for
// standard error, which is held back until the container has started, so that
// what the runtime says of a failure is told once, as an error.
//
// # Exit codes
//
// As docker run: the container's own; 128+n when signal n ended it; 127 when
// its program was not found, 126 when it could not be executed, 125 when
// something failed before that. A signal that would end an ordinary process
// (SIGHUP, SIGINT, SIGQUIT, SIGTERM) ends the container even where its first
// process has no handler for it and the kernel would therefore ignore it, as
// it does for the first process of every pid namespace. Three SIGINT within two
// seconds end a container whatever it makes of them. A caller that was
// started to ignore SIGHUP (nohup) or SIGINT (a script's background command) goes
// on ignoring it, and the container with it. Output that nobody takes any more is
// SIGPIPE or EPIPE to the container, and on a terminal a hangup.
package ociruntime
