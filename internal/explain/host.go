package explain

import (
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/byhand/byhand/internal/ociruntime"
	"github.com/byhand/byhand/internal/shell"
	"github.com/byhand/byhand/internal/userns"
	"github.com/byhand/byhand/overlay"
)

// Namespace tells of the user namespace that the process is in, if it is in one.
func (n *Narrator) Namespace(s userns.Status, uids, gids []specs.LinuxIDMapping) {
	if n == nil || s.Kind != userns.Mapped && s.Kind != userns.SingleID {
		return
	}
	e := Event{Kind: "namespace", Title: "a user namespace and a mount namespace of its own: " + s.String(), Facts: []Fact{
		{Name: "uid_map", Value: maps(uids)}, {Name: "gid_map", Value: maps(gids)},
	}, Notes: []string{"A line of these maps is: first ID inside, first ID outside, how many."}}
	e.Shell = []string{"unshare --user --map-root-user --mount true"}
	if s.Kind == userns.Mapped {
		e.Shell = []string{"unshare --user --map-root-user --map-auto --mount true"}
		e.Notes = append(e.Notes, "The ranges are those of /etc/subuid and /etc/subgid.")
	}
	n.w.Put(e)
}

func maps(list []specs.LinuxIDMapping) []string {
	out := make([]string, len(list))
	for i, m := range list {
		out[i] = fmt.Sprintf("%d %d %d", m.ContainerID, m.HostID, m.Size)
	}
	return out
}

// Mount says how a mount is made.
type Mount struct {
	Private bool // in a mount namespace that ends with the container
	Later   bool // left to the person, or to a later command
}

// Mount tells of an overlay mount.
func (n *Narrator) Mount(o overlay.MountOptions, m Mount) {
	if n == nil {
		return
	}
	title := "mount the overlay on " + o.Target
	if m.Later {
		title = "not mounted yet: the overlay on " + o.Target
	}
	e := Event{Kind: "mount", Title: title, Facts: []Fact{
		{Name: "target", Value: o.Target, Silent: true},
		{Name: "private", Value: m.Private, Silent: true},
		{Name: "later", Value: m.Later, Silent: true},
		{Name: "userxattr", Value: o.UserXattr, Silent: true},
		{Name: "lowerdir", Value: topmostFirst(o.Lower)},
	}}
	if o.ReadOnly {
		e.Notes = append(e.Notes, "Without upperdir: nothing can be written.")
	} else {
		e.Facts = append(e.Facts, Fact{Name: "upperdir", Value: o.Upper}, Fact{Name: "workdir", Value: o.Work})
	}
	if o.UserXattr {
		e.Notes = append(e.Notes, "userxattr: the marks are user.overlay.*, which an ordinary user may set.")
	}
	if m.Private {
		e.Notes = append(e.Notes, "In a private mount namespace: nobody else sees it, and it is gone with the container.")
	}
	n.command(&e, overlay.MountCommand(o), m.Private || m.Later)
	if m.Private {
		n.mu.Lock()
		n.mount = overlay.MountCommand(o)
		n.mu.Unlock()
	}
	if !m.Private && !o.ReadOnly && !o.UserXattr {
		e.Notes = append(e.Notes, "What starts a container of it: runc run --bundle "+shell.Quote(filepath.Dir(o.Target))+" NAME")
	}
	n.w.Put(e)
}

// topmostFirst is the order of lowerdir.
func topmostFirst(lower []string) []string {
	out := make([]string, 0, len(lower))
	for i := len(lower) - 1; i >= 0; i-- {
		out = append(out, lower[i])
	}
	return out
}

// command adds a command that works once the event is told; or, where it works on
// what is gone by then or is part of a later one, tells it.
func (n *Narrator) command(e *Event, command string, told bool) {
	if !told {
		if strings.HasPrefix(command, "cd ") {
			command = "( " + command + " )" // so that what follows stays where it is
		}
		e.Shell = append(e.Shell, command)
		return
	}
	e.Facts = append(e.Facts, Fact{Name: "command", Value: Command(command)})
}

// Unmount tells that whatever is mounted on target is taken away.
func (n *Narrator) Unmount(target string) {
	if n == nil {
		return
	}
	n.w.Put(Event{
		Kind: "umount", Title: "unmount " + target, Facts: []Fact{{Name: "target", Value: target, Silent: true}},
		Shell: []string{"umount " + shell.Quote(target)},
	})
}

// Flatten tells that the merged tree of so many layers is written to dir.
func (n *Narrator) Flatten(dir string, layers int) {
	if n == nil {
		return
	}
	e := Event{
		Kind: "flatten", Title: "write the merged tree to " + dir, Facts: []Fact{{Name: "directory", Value: dir, Silent: true}, {Name: "layers", Value: layers, Silent: true}},
		Notes: []string{"It is what an overlay of the layers shows, as plain files."},
	}
	n.mu.Lock()
	option := "lowerdir="
	if n.userXattr {
		option = "userxattr,lowerdir="
	}
	n.mu.Unlock()
	if layers == 1 {
		e.Shell = []string{"mkdir -p flat", "cp -a lower/1/. flat/"}
	} else {
		e.Shell = []string{
			"mkdir -p merged flat", "mount -t overlay overlay -o " + option + strings.Join(lowers(layers), ":") + " merged",
			"cp -a merged/. flat/", "umount merged",
		}
	}
	n.w.Put(e)
}

// Bundle tells that a bundle is begun in dir.
func (n *Narrator) Bundle(dir, rootfs string) {
	if n == nil {
		return
	}
	e := Event{Kind: "bundle", Title: "make a bundle in " + dir, Facts: []Fact{{Name: "directory", Value: dir, Silent: true}, {Name: "rootfs", Value: rootfs}}}
	if rootfs == "overlay" {
		e.Notes = []string{"lower/1 … are links to the layers in the store, upper takes what the container writes, work is overlayfs's own."}
	}
	n.w.Put(e)
}

// Run tells what the runtime is started with. Gone says that the bundle is
// removed at the end.
func (n *Narrator) Run(p ociruntime.Plan, gone bool) {
	if n == nil {
		return
	}
	e := Event{Kind: "run", Title: "start " + filepath.Base(p.Runtime) + " on the bundle", Facts: []Fact{
		{Name: "runtime", Value: p.Runtime},
		{Name: "bundle", Value: p.Bundle},
		{Name: "id", Value: p.ID},
		{Name: "privateMounts", Value: p.Private, Silent: true},
		{Name: "privateProcesses", Value: p.PIDNS, Silent: true},
		{Name: "terminal", Value: p.Terminal, Silent: true},
	}}
	if p.Private {
		e.Notes = append(e.Notes, "A supervisor stands between, in a mount namespace of its own: it mounts, starts the runtime, and takes everything with it when it ends.")
	}
	command := shell.Quote(p.Runtime) + " run --bundle " + shell.Quote(p.Bundle) + " " + shell.Quote(p.ID)
	n.mu.Lock()
	if n.mount != "" {
		command = "unshare --mount sh -c " + shell.Quote(n.mount+" && "+command)
	}
	n.mu.Unlock()
	n.command(&e, command, gone)
	n.w.Put(e)
}

// Ended tells how the container ended.
func (n *Narrator) Ended(code int) {
	if n == nil {
		return
	}
	n.w.Put(Event{
		Kind: "ended", Title: fmt.Sprintf("the container has ended, exit status %d", code),
		Facts: []Fact{{Name: "status", Value: code, Silent: true}},
		Notes: []string{"Its namespaces are gone, and with them every mount that was made for it."},
	})
}

// Removed tells that a directory of byhand's was taken away.
func (n *Narrator) Removed(dir string) {
	if n != nil {
		n.w.Put(Event{Kind: "removed", Title: "remove " + dir, Facts: []Fact{{Name: "path", Value: dir, Silent: true}}})
	}
}

// Exported tells of a tar that was written; file is "" for standard output.
func (n *Narrator) Exported(file string, d digest.Digest) {
	if n == nil {
		return
	}
	e := Event{Kind: "export", Title: "the merged tree, as a tar, on standard output"}
	if file != "" {
		e.Title = "the merged tree, as a tar, in " + file
		e.Facts = []Fact{{Name: "file", Value: file, Silent: true}, {Name: "digest", Value: d.String()}}
		e.Shell = []string{sum(d) + " " + shell.Quote(absolute(file))}
	}
	e.Notes = []string{"One entry for each name, a directory before what is in it, names in byte order: the same image gives the same bytes."}
	n.w.Put(e)
}

// Did tells of a step that needs no more than a sentence, and the command for it.
func (n *Narrator) Did(kind, title string, commands ...string) {
	if n != nil {
		n.w.Put(Event{Kind: kind, Title: title, Shell: commands})
	}
}

// Served is a request that a registry of byhand's answered.
type Served struct {
	Method, Path, Range, Authorization string
	Status                             int
	Bytes                              int64
	Took                               time.Duration
}

// longDigest is what a path is shortened of.
var longDigest = regexp.MustCompile(`(sha(?:256|512):[0-9a-f]{12})[0-9a-f]+`)

// Served tells of it.
func (n *Narrator) Served(s Served) {
	if n == nil {
		return
	}
	e := Event{
		Kind: "served", Title: fmt.Sprintf("%s %s: %d %s, %s", s.Method, longDigest.ReplaceAllString(s.Path, "$1…"), s.Status, http.StatusText(s.Status), size(s.Bytes)),
		Facts: []Fact{
			{Name: "method", Value: s.Method, Silent: true},
			{Name: "path", Value: s.Path, Silent: true},
			{Name: "status", Value: s.Status, Silent: true},
			{Name: "bytes", Value: s.Bytes, Silent: true},
			{Name: "seconds", Value: s.Took.Seconds(), Silent: true},
		},
	}
	if s.Range != "" {
		e.Facts = append(e.Facts, Fact{Name: "range", Value: s.Range})
	}
	if s.Authorization != "" {
		e.Facts = append(e.Facts, Fact{Name: "authorization", Value: s.Authorization + " <redacted>"})
	}
	n.w.Put(e)
}
