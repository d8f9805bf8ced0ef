package ociruntime

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/byhand/byhand/internal/userns"
)

// config is what Run needs to know of config.json.
type config struct {
	Process struct {
		Terminal bool       `json:"terminal"`
		User     specs.User `json:"user"`
	} `json:"process"`
	Linux struct {
		Namespaces []specs.LinuxNamespace `json:"namespaces"`
	} `json:"linux"`
}

func readConfig(bundle string) (config, error) {
	var c config
	text, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if err != nil {
		return c, fmt.Errorf("read bundle: %w", err)
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return c, fmt.Errorf("read bundle %s: config.json: %w", bundle, err)
	}
	return c, nil
}

// checkIDs says before the runtime fails that the container's user has no id
// here. A container with a user namespace of its own has other ids.
func (c config) checkIDs(s userns.Status) error {
	for _, ns := range c.Linux.Namespaces {
		if ns.Type == specs.UserNamespace {
			return nil
		}
	}
	const remedy = "ranges in /etc/subuid and /etc/subgid give an ordinary user more"
	if c.Process.User.UID >= s.UIDs {
		return fmt.Errorf("run container: config.json asks for uid %d, and this user namespace has %d; %s", c.Process.User.UID, s.UIDs, remedy)
	}
	for _, gid := range append([]uint32{c.Process.User.GID}, c.Process.User.AdditionalGids...) {
		if gid >= s.GIDs {
			return fmt.Errorf("run container: config.json asks for gid %d, and this user namespace has %d; %s", gid, s.GIDs, remedy)
		}
	}
	return nil
}

// ownsPIDs says that the container gets a new pid namespace and names no
// process of the machine, so that a pid namespace around it changes nothing.
func (c config) ownsPIDs() bool {
	own := false
	for _, ns := range c.Linux.Namespaces {
		if strings.HasPrefix(ns.Path, "/proc/") {
			return false
		}
		if ns.Type == specs.PIDNamespace && ns.Path == "" {
			own = true
		}
	}
	return own
}
