package bundle

import (
	"fmt"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// makesUserNamespace says whether the runtime is to make a user namespace.
func (d *draft) makesUserNamespace() bool { return d.o.Rootless && !d.o.InUserNamespace }

// inUserNamespace says whether the container will be in one, whoever made it.
// There the kernel refuses some of what root may do.
func (d *draft) inUserNamespace() bool {
	return d.o.Rootless || d.o.InUserNamespace || d.host.UserNamespace
}

func (d *draft) uidMappings() []specs.LinuxIDMapping {
	return d.mappings(d.o.UIDMappings, d.host.UIDMappings, d.host.UID)
}

func (d *draft) gidMappings() []specs.LinuxIDMapping {
	return d.mappings(d.o.GIDMappings, d.host.GIDMappings, d.host.GID)
}

// mappings falls back to the caller as root, which needs no privilege
// (user_namespaces(7)). A namespace that exists has what it has.
func (d *draft) mappings(given, host []specs.LinuxIDMapping, own int) []specs.LinuxIDMapping {
	switch {
	case len(given) > 0 || !d.inUserNamespace():
		return given
	case d.makesUserNamespace():
		return []specs.LinuxIDMapping{{ContainerID: 0, HostID: uint32(own), Size: 1}}
	}
	return host
}

// setgroupsDenied says whether nobody can set supplementary groups: by the
// runtime that makes the namespace, because it does not help with them, and in
// a namespace of one ID, because only without them was it made without
// privilege.
func (d *draft) setgroupsDenied() bool {
	if d.makesUserNamespace() || d.host.UserNamespace && d.host.SetgroupsDenied {
		return true
	}
	list := d.gidMappings()
	return d.inUserNamespace() && len(list) == 1 && list[0].Size == 1
}

func mapped(list []specs.LinuxIDMapping, id uint32) bool {
	for _, m := range list {
		if id >= m.ContainerID && uint64(id) < uint64(m.ContainerID)+uint64(m.Size) {
			return true
		}
	}
	return false
}

// checkMapped refuses early what setuid(2) in the container would.
func checkMapped(d *draft) error {
	u := d.spec.Process.User
	if list := d.uidMappings(); len(list) > 0 && !mapped(list, u.UID) {
		return &UnmappedError{Kind: "user", ID: u.UID, Have: showMappings(list)}
	}
	if list := d.gidMappings(); len(list) > 0 && !mapped(list, u.GID) {
		return &UnmappedError{Kind: "group", ID: u.GID, Have: showMappings(list)}
	}
	return nil
}

func showMappings(list []specs.LinuxIDMapping) string {
	var parts []string
	for _, m := range list {
		if m.Size == 1 {
			parts = append(parts, fmt.Sprint(m.ContainerID))
			continue
		}
		parts = append(parts, fmt.Sprintf("%d-%d", m.ContainerID, uint64(m.ContainerID)+uint64(m.Size)-1))
	}
	return "only " + strings.Join(parts, ", ")
}
