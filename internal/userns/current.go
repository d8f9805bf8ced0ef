package userns

import (
	"fmt"
	"os"

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
