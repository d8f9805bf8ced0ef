package bundle

import "github.com/opencontainers/runtime-spec/specs-go"

// namespaces chooses what the container has of its own. A time namespace is
// none of it: runtimes of 2022 refuse to start with one.
func (d *draft) namespaces() error {
	l := d.spec.Linux
	types := []specs.LinuxNamespaceType{specs.PIDNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.MountNamespace}
	if !d.o.hostNetwork() {
		types = append(types, specs.NetworkNamespace)
	}
	if d.host.CgroupV2 {
		types = append(types, specs.CgroupNamespace)
	}
	if d.makesUserNamespace() {
		types = append(types, specs.UserNamespace)
		l.UIDMappings, l.GIDMappings = d.uidMappings(), d.gidMappings()
	}
	for _, t := range types {
		l.Namespaces = append(l.Namespaces, specs.LinuxNamespace{Type: t})
	}
	d.from("linux.namespaces", d.namespacesFrom())
	if d.makesUserNamespace() {
		d.from("linux.uidMappings", "the caller's IDs, /etc/subuid")
		d.from("linux.gidMappings", "the caller's IDs, /etc/subgid")
	}
	return nil
}

// names sets host and domain name.
func (d *draft) names() error {
	name, from := d.o.Hostname, "--hostname"
	if name == "" {
		if name, from = d.o.Name, "container name"; len(name) > hostnameLimit {
			name = name[:hostnameLimit]
		}
	}
	if name == "" {
		name, from = defaultHostname, "default: no --hostname"
	}
	d.spec.Hostname = name
	d.from("hostname", from)
	if d.o.Domainname != "" {
		d.domainname()
	}
	return nil
}

// domainname is written twice: runc before 1.2 ignores the field, and the file
// behind the sysctl belongs to the machine's root, which no root of another
// user namespace is.
func (d *draft) domainname() {
	d.spec.Domainname = d.o.Domainname
	d.from("domainname", "--domainname")
	if d.inUserNamespace() {
		d.warn("domain name left to the runtime: runc before 1.2 ignores it in a user namespace")
		return
	}
	d.sysctl("kernel.domainname", d.o.Domainname)
}

// sysctls opens low ports and ping to every user, as no other container and no
// host service shares this network.
func (d *draft) sysctls() error {
	if d.o.hostNetwork() || !d.host.NetSysctls {
		return nil
	}
	d.sysctl("net.ipv4.ip_unprivileged_port_start", "0")
	if !d.inUserNamespace() {
		d.sysctl("net.ipv4.ping_group_range", "0 2147483647") // EINVAL unless all of them are mapped
	}
	d.from("linux.sysctl", "default")
	return nil
}

func (d *draft) sysctl(key, value string) {
	l := d.spec.Linux
	if l.Sysctl == nil {
		l.Sysctl = map[string]string{}
	}
	l.Sysctl[key] = value
}

// devices leaves /dev to the runtime, which adds what every container has, and
// forbids the rest. Without root there is no device cgroup to forbid with.
func (d *draft) devices() error {
	if d.inUserNamespace() {
		return nil
	}
	rule := specs.LinuxDeviceCgroup{Allow: d.o.Privileged, Access: "rwm"}
	d.spec.Linux.Resources = &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{rule}}
	if d.o.Privileged {
		d.spec.Linux.Devices = d.host.Devices
	}
	d.from("linux.resources.devices", devicesFrom(d.o.Privileged))
	return nil
}

// hidden masks what a container has no business with.
func (d *draft) hidden() error {
	if d.o.Privileged {
		return nil
	}
	d.spec.Linux.MaskedPaths = append(maskedPaths(), d.host.ThermalThrottle...)
	d.spec.Linux.ReadonlyPaths = readonlyPaths()
	d.from("linux.maskedPaths", "default")
	d.from("linux.readonlyPaths", "default")
	return nil
}

// namespacesFrom tells what chose the namespaces.
func (d *draft) namespacesFrom() string {
	from := "default"
	if d.o.hostNetwork() {
		from += ", without a network of its own: --network host"
	}
	if d.makesUserNamespace() {
		from += ", with a user namespace: the IDs of the caller"
	}
	return from
}

func devicesFrom(privileged bool) string {
	if privileged {
		return "--privileged"
	}
	return "default: none but those that the runtime adds"
}
