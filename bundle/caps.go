package bundle

import (
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

const allCapabilities = "ALL"

// capabilities computes the final sets. Adding wins over dropping, except that
// a drop takes one back from "add ALL", as docker run has it.
func (d *draft) capabilities() error {
	known := d.host.Known
	add, err := normalizeCaps("cap-add", d.o.CapAdd, known)
	if err != nil {
		return err
	}
	drop, err := normalizeCaps("cap-drop", d.o.CapDrop, known)
	if err != nil {
		return err
	}
	all := d.o.Privileged || slices.Contains(add, allCapabilities)
	explicit := add
	var list []string
	switch {
	case all:
		list = without(known, drop)
		explicit = nil
		if slices.Contains(add, allCapabilities) {
			explicit = list
		}
	case slices.Contains(drop, allCapabilities):
		list = add
	default:
		list = without(defaultCapabilities(), drop)
		for _, c := range add {
			if !slices.Contains(list, c) {
				list = append(list, c)
			}
		}
	}
	list = d.available(list, all)
	c := &specs.LinuxCapabilities{Bounding: list}
	if d.id.UID == 0 {
		c.Effective, c.Permitted = list, list
	} else {
		// execve(2) by another user than root keeps only ambient
		// capabilities, so what was asked for has to be ambient.
		explicit = slices.DeleteFunc(slices.Clone(explicit), func(c string) bool { return !slices.Contains(list, c) })
		c.Effective, c.Permitted, c.Inheritable, c.Ambient = explicit, explicit, explicit, explicit
	}
	d.spec.Process.Capabilities = c
	from := "default"
	if len(add)+len(drop) > 0 || d.o.Privileged {
		from += ", --cap-add, --cap-drop, --privileged"
	}
	d.from("process.capabilities", from)
	return nil
}

// available leaves out what the runtime could not give. A user namespace yet to
// be made has every capability, whatever the caller's bounding set is.
func (d *draft) available(list []string, quiet bool) []string {
	have := d.host.Bounding
	if d.makesUserNamespace() || d.o.InUserNamespace && !d.host.UserNamespace {
		have = d.host.Known
	}
	var kept, lost []string
	for _, c := range list {
		if slices.Contains(have, c) {
			kept = append(kept, c)
		} else {
			lost = append(lost, c)
		}
	}
	if len(lost) > 0 && !quiet {
		d.warn("capabilities left out, because this process may not pass them on: " + strings.Join(lost, ", "))
	}
	return kept
}

// normalizeCaps turns names into the form CAP_NAME, without duplicates.
func normalizeCaps(option string, names, known []string) ([]string, error) {
	var out []string
	for _, n := range names {
		c := strings.ToUpper(strings.TrimSpace(n))
		if c != allCapabilities {
			if !strings.HasPrefix(c, "CAP_") {
				c = "CAP_" + c
			}
			if !slices.Contains(known, c) {
				return nil, &OptionError{Option: option, Value: n, Want: "ALL or a capability of this kernel, as NET_ADMIN; see capabilities(7)"}
			}
		}
		if !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out, nil
}

func without(list, drop []string) []string {
	if slices.Contains(drop, allCapabilities) {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(list), func(c string) bool { return slices.Contains(drop, c) })
}
