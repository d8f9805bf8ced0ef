package bundle

import "strings"

func checkNames(d *draft) error {
	for _, o := range []struct{ option, name string }{{"hostname", d.o.Hostname}, {"domainname", d.o.Domainname}} {
		if len(o.name) > hostnameLimit || strings.ContainsAny(o.name, "\x00\n/ ") {
			return &OptionError{Option: o.option, Value: o.name, Want: "at most 64 bytes without space or slash"}
		}
	}
	return nil
}

// checkUser refuses what is wrong whatever the image's user database holds.
func checkUser(d *draft) error {
	if _, want := malformedUser(d.o.User); want != "" {
		return &OptionError{Option: "user", Value: d.o.User, Want: want}
	}
	return nil
}

func checkArgs(d *draft) error {
	args := d.o.Args
	if d.o.Entrypoint != nil {
		args = append(append([]string{}, *d.o.Entrypoint...), args...)
	}
	for _, a := range args {
		if strings.ContainsRune(a, 0) {
			return &OptionError{Option: "entrypoint", Value: a, Want: "no NUL byte"}
		}
	}
	return nil
}

func checkEnv(d *draft) error {
	for _, e := range d.o.Env {
		if name, _, _ := strings.Cut(e, "="); name == "" || strings.ContainsRune(e, 0) {
			return &OptionError{Option: "env", Value: e, Want: "NAME=VALUE"}
		}
	}
	return nil
}

func checkWorkdirOption(d *draft) error {
	if cwd := d.o.Workdir; cwd != "" && (!strings.HasPrefix(cwd, "/") || strings.ContainsRune(cwd, 0)) {
		return &OptionError{Option: "workdir", Value: cwd, Want: "an absolute path"}
	}
	return nil
}

func checkNetwork(d *draft) error {
	switch d.o.Network {
	case "", NetworkNone, NetworkHost:
		return nil
	}
	return &OptionError{Option: "network", Value: d.o.Network, Want: "none or host"}
}

func checkCapabilities(d *draft) error {
	_, err := normalizeCaps("cap-add", d.o.CapAdd, d.host.Known)
	if err == nil {
		_, err = normalizeCaps("cap-drop", d.o.CapDrop, d.host.Known)
	}
	return err
}

func checkVolumes(d *draft) error {
	_, err := d.userMounts()
	return err
}
