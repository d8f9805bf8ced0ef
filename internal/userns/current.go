package userns

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Current returns the id maps of the user namespace this process is in, as
// a config.json for a runtime in the parent namespace states them.
func Current() (uids, gids []specs.LinuxIDMapping, err error) {
	if uids, err = readMap("/proc/self/uid_map"); err != nil {
		return nil, nil, err
	}
	if gids, err = readMap("/proc/self/gid_map"); err != nil {
		return nil, nil, err
	}
	return uids, gids, nil
}

// ForCaller returns the id maps as a config.json states them for a runtime that
// the caller of this command starts. Where [Enter] made the user namespace, the
// caller is outside, and makes the like of it again. Any other was the caller's
// own before: a runtime in it can map only the IDs that it has.
func ForCaller() (uids, gids []specs.LinuxIDMapping, err error) {
	if uids, gids, err = Current(); err != nil || os.Getenv(enteredVar) == thisNamespace() {
		return uids, gids, err
	}
	for _, m := range [][]specs.LinuxIDMapping{uids, gids} {
		for i := range m {
			m[i].HostID = m[i].ContainerID
		}
	}
	return uids, gids, nil
}

// enteredVar tells the command that Enter starts which namespace was made for
// it. What that command starts inherits it, so it names the namespace.
const enteredVar = "BYHAND_USERNS"

// thisNamespace names the user namespace of this process: its number.
func thisNamespace() string {
	n, _ := namespaceNumber() // a kernel without has no other number
	return strconv.FormatUint(n, 10)
}

// entered is the environment for the command that Enter starts.
func entered(env []string) []string {
	const name = enteredVar + "="
	env = slices.DeleteFunc(env, func(kv string) bool { return strings.HasPrefix(kv, name) })
	return append(env, name+thisNamespace())
}

func readMap(path string) ([]specs.LinuxIDMapping, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read id map: %w", err)
	}
	m, err := parseMap(text)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	list := make([]specs.LinuxIDMapping, len(m))
	for i, e := range m {
		list[i] = specs.LinuxIDMapping{ContainerID: e.inside, HostID: e.outside, Size: e.size}
	}
	return list, nil
}

// OuterUID returns the user ID that the user with the ID uid here has in the
// parent user namespace, or uid if that cannot be told.
func OuterUID(uid int) int {
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return uid
	}
	m, err := parseMap(text)
	if err != nil {
		return uid
	}
	if outer, ok := m.outer(uint32(uid)); ok {
		return int(outer)
	}
	return uid
}
