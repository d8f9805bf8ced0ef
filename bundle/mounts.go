package bundle

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// mounts joins the base mounts, the host's network files, the image's volumes
// and the caller's, which stand above the others.
func (d *draft) mounts() error {
	user, err := d.userMounts()
	if err != nil {
		return err
	}
	image, err := d.imageVolumes(user)
	if err != nil {
		return err
	}
	list := slices.DeleteFunc(d.baseMounts(), func(m specs.Mount) bool { return hidden(m, user) })
	files := slices.DeleteFunc(d.networkFiles(), func(m specs.Mount) bool { return overridden(m.Destination, user) })
	extra := slices.Concat(files, image, user)
	// Parents first, or a parent would hide what is mounted below it; by what the
	// runtime finds behind links, as it is /run that is above /var/run/lock.
	slices.SortStableFunc(extra, func(a, b specs.Mount) int {
		return cmp.Compare(strings.Count(d.place(a.Destination), "/"), strings.Count(d.place(b.Destination), "/"))
	})
	d.spec.Mounts = append(list, extra...)
	d.from("mounts", "default, image config.Volumes, --volume, --network")
	for _, group := range []struct {
		mounts []specs.Mount
		from   string
	}{{list, "default"}, {files, "--network host"}, {image, "image config.Volumes"}, {user, "--volume"}} {
		for _, m := range group.mounts {
			d.from("mounts["+m.Destination+"]", group.from)
		}
	}
	return nil
}

// place is where in the image the runtime mounts what has the destination dst.
func (d *draft) place(dst string) string {
	at, _, err := d.root.resolve(dst)
	if err != nil && !errors.Is(err, fs.ErrNotExist) || at == "" {
		return dst // checkDestinations says what is wrong
	}
	return "/" + at
}

// overridden says whether the caller mounts something at dst.
func overridden(dst string, user []specs.Mount) bool {
	return slices.ContainsFunc(user, func(u specs.Mount) bool { return u.Destination == dst })
}

// hidden says whether the caller mounts something at m's place or above it.
func hidden(m specs.Mount, user []specs.Mount) bool {
	return slices.ContainsFunc(user, func(u specs.Mount) bool { return under(m.Destination, u.Destination) })
}

// baseMounts adapts the default mounts to the network and user namespace.
func (d *draft) baseMounts() []specs.Mount {
	list := baseMounts()
	hostSys := d.inUserNamespace() && d.o.hostNetwork()
	list = slices.DeleteFunc(list, func(m specs.Mount) bool { return hostSys && m.Type == "cgroup" })
	for i := range list {
		m := &list[i]
		switch m.Type {
		case "devpts":
			if d.inUserNamespace() && !mapped(d.gidMappings(), ttyGID) {
				m.Options = slices.DeleteFunc(m.Options, func(o string) bool { return o == devptsGID })
			}
		case "sysfs":
			if hostSys {
				// sysfs shows a network namespace, and the kernel lets only
				// the owner of that namespace mount it.
				m.Type, m.Source = "bind", "/sys"
				m.Options = []string{"rbind", "rprivate", "nosuid", "noexec", "nodev", d.readOnly()}
			}
			fallthrough
		case "cgroup":
			if d.o.Privileged {
				m.Options = slices.DeleteFunc(m.Options, func(o string) bool { return o == "ro" || o == "rro" })
			}
		}
	}
	return list
}

// readOnly is the option that makes a recursive bind read-only with everything
// mounted below it, where the kernel can.
func (d *draft) readOnly() string {
	if d.host.RecursiveReadOnly {
		return "rro"
	}
	return "ro"
}

// networkFiles gives a container on the host's network the host's idea of
// names.
func (d *draft) networkFiles() []specs.Mount {
	if !d.o.hostNetwork() {
		return nil
	}
	var list []specs.Mount
	for _, f := range []struct {
		dst string
		src SourceFile
	}{{"/etc/hosts", d.host.Hosts}, {"/etc/resolv.conf", d.host.ResolvConf}} {
		if f.src.Path == "" {
			continue
		}
		opts := append([]string{"bind", "rprivate", "ro"}, f.src.Flags...)
		list = append(list, specs.Mount{Destination: f.dst, Type: "bind", Source: f.src.Path, Options: opts})
	}
	return list
}

// userMounts reads the caller's volumes.
func (d *draft) userMounts() ([]specs.Mount, error) {
	var list []specs.Mount
	for _, v := range d.o.Volumes {
		vol, err := parseVolume(v)
		if err != nil {
			return nil, err
		}
		src, err := filepath.Abs(vol.source)
		if err != nil {
			return nil, &OptionError{Option: "volume", Value: v, Want: "a path that exists", Err: err}
		}
		info, err := os.Stat(src)
		if err != nil {
			var pe *fs.PathError
			if errors.As(err, &pe) {
				err = pe.Err
			}
			return nil, &OptionError{Option: "volume", Value: v, Want: src + " to exist", Err: err}
		}
		if slices.ContainsFunc(list, func(m specs.Mount) bool { return m.Destination == vol.destination }) {
			return nil, &OptionError{Option: "volume", Value: v, Want: "each destination once"}
		}
		opts := []string{"rbind", "rprivate"}
		if vol.readOnly {
			opts = append(opts, d.volumeReadOnly(src, info)...)
		}
		list = append(list, specs.Mount{Destination: vol.destination, Type: "bind", Source: src, Options: opts})
	}
	return list, nil
}

// volumeReadOnly is for a source of the caller's. Nothing is mounted below a
// file, and crun 1.8 fails on a file with rro.
func (d *draft) volumeReadOnly(src string, info fs.FileInfo) []string {
	opts := []string{"ro"}
	if info.IsDir() {
		opts[0] = d.readOnly()
	}
	if d.inUserNamespace() {
		opts = append(opts, lockedFlags(src)...)
	}
	return opts
}

type volumeOption struct {
	source, destination string
	readOnly            bool
}

// parseVolume reads SRC:DST[:ro|rw].
func parseVolume(s string) (volumeOption, error) {
	bad := func(want string) (volumeOption, error) {
		return volumeOption{}, &OptionError{Option: "volume", Value: s, Want: want}
	}
	part := strings.Split(s, ":")
	if len(part) < 2 || len(part) > 3 || strings.ContainsRune(s, 0) {
		return bad("SRC:DST[:ro]")
	}
	v := volumeOption{source: part[0], destination: path.Clean(part[1])}
	if !strings.HasPrefix(v.source, "/") && !strings.HasPrefix(v.source, ".") {
		return bad("an absolute source, or one that begins with ./ (there are no named volumes)")
	}
	if !strings.HasPrefix(part[1], "/") || v.destination == "/" {
		return bad("an absolute destination other than /")
	}
	if len(part) == 3 {
		switch part[2] {
		case "ro":
			v.readOnly = true
		case "rw":
		default:
			return bad("ro or rw at the end")
		}
	}
	return v, nil
}
