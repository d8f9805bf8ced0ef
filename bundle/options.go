package bundle

import "github.com/opencontainers/runtime-spec/specs-go"

// Network chooses what the container sees of the network.
const (
	NetworkNone = "none" // a network namespace of its own, with loopback only
	NetworkHost = "host" // the machine's
)

// Options says how the container differs from what its image asks for. The
// zero value is the image as it is.
type Options struct {
	// Args replaces the image's Cmd, unless nil.
	Args []string
	// Entrypoint replaces the image's Entrypoint and drops its Cmd, unless
	// nil. Empty, or a single empty string, clears it.
	Entrypoint *[]string
	// Env holds NAME=VALUE entries that replace or extend the image's. An
	// entry without "=" removes the variable.
	Env []string
	// User is USER[:GROUP], each a name or a number, instead of the image's.
	User string
	// Workdir is an absolute path instead of the image's.
	Workdir string
	// Hostname is the container's, at most 64 bytes; empty means Name.
	Hostname string
	// Name is the container's name where it has one, else "byhand" stands
	// for the host name.
	Name string
	// Domainname is the NIS domain name.
	Domainname string
	// Terminal asks the runtime for a terminal; ConsoleSize is its size in
	// characters, where known.
	Terminal    bool
	ConsoleSize *specs.Box
	// ReadOnly makes the root filesystem read-only.
	ReadOnly bool

	// CapAdd and CapDrop name capabilities in any case, with or without
	// CAP_, or ALL.
	CapAdd, CapDrop []string
	// Privileged gives all capabilities and devices and takes away the
	// seccomp filter and the masked and read-only paths.
	Privileged bool
	// NoNewPrivileges keeps setuid programs from gaining anything.
	NoNewPrivileges bool
	// NoSeccomp leaves the seccomp filter out.
	NoSeccomp bool

	// Network is NetworkNone (also when empty) or NetworkHost.
	Network string
	// Volumes holds SRC:DST[:ro] or SRC:DST[:rw]; SRC is an absolute path, or
	// one that begins with "." and counts from the working directory.
	Volumes []string

	// Rootless is for a runtime started by an ordinary user: it makes a user
	// namespace with UIDMappings and GIDMappings, or, where those are empty,
	// with the caller's own IDs as the only ones.
	Rootless bool
	// InUserNamespace is for a runtime started inside a user namespace that
	// exists already, and stands above Rootless: no user namespace is asked
	// for. UIDMappings and GIDMappings then say what that namespace maps;
	// where they are empty it is the caller's own. A caller that is in a user
	// namespace already need not say so.
	InUserNamespace          bool
	UIDMappings, GIDMappings []specs.LinuxIDMapping

	// KeepRuntimeLabels keeps the image's labels that steer runtimes.
	KeepRuntimeLabels bool
	// Host describes the machine; nil means DetectHost.
	Host *Host
}

func (o *Options) hostNetwork() bool { return o.Network == NetworkHost }

// Result is what Spec computed.
type Result struct {
	Spec     *specs.Spec
	Volumes  []Volume // the image's volumes, for PopulateVolumes
	Warnings []string // what was left out or may not work, one sentence each
	Origins  []Origin // where the fields come from, in config.json's order
}

// Volume is a directory of the bundle that holds what the image declares as a
// volume.
type Volume struct {
	Source      string // relative to the bundle, as in "volumes/0"
	Destination string // in the container, absolute
}

// Origin says where a field of config.json comes from.
type Origin struct {
	Field string // as in "process.args", "process.env[PATH]" or "mounts[/proc]"
	From  string // as in "image config.Cmd"
}
