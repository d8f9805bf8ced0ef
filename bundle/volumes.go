package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

const volumesDir = "volumes"

// imageVolumes gives each volume that the image declares, and the caller does
// not mount, by this name or another, a directory of the bundle.
func (d *draft) imageVolumes(user []specs.Mount) ([]specs.Mount, error) {
	var list []specs.Mount
	seen := map[string]bool{}
	for _, u := range user {
		seen[d.place(u.Destination)] = true
	}
	for _, v := range d.image.Config.Volumes {
		dst := path.Clean("/" + v)
		if dst == "/" {
			return nil, &ConfigError{Field: "config.Volumes", Want: "a directory other than /", Got: quoteShort(v)}
		}
		if under(dst, "/proc") || under(dst, "/sys") || under(dst, "/dev") {
			d.warn("volume of the image left out, because the runtime mounts there: " + quoteShort(dst))
			continue
		}
		if seen[dst] || seen[d.place(dst)] {
			continue
		}
		seen[dst] = true
		at, info, err := d.root.resolve(dst)
		missing := errors.Is(err, fs.ErrNotExist) // there is none yet below /proc, for one
		switch {
		case err != nil && !missing:
			return nil, &RootError{Path: dst, Err: err}
		case !missing && !info.IsDir():
			return nil, &RootError{Path: dst, Want: "a directory for the volume", Got: kind(info.Mode())}
		case under("/"+at, "/proc") || under("/"+at, "/sys") || under("/"+at, "/dev"):
			d.warn("volume of the image left out, because the runtime mounts there: " + quoteShort(dst))
			continue
		}
		seen["/"+at] = true
		vol := Volume{Source: fmt.Sprintf("%s/%d", volumesDir, len(d.volumes)), Destination: dst}
		d.volumes = append(d.volumes, vol)
		list = append(list, specs.Mount{
			Destination: dst, Type: "bind", Source: vol.Source,
			Options: []string{"rbind", "rprivate", "nosuid", "nodev"},
		})
	}
	return list, nil
}

func under(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }
