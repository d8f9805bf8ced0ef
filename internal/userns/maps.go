package userns

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// mapError is a refusal to map the planned ids.
type mapError struct {
	what string
	err  error
}

func (e *mapError) Error() string { return e.what + ": " + e.err.Error() }
func (e *mapError) Unwrap() error { return e.err }

// writeMaps gives the user namespace of pid the planned ids.
func writeMaps(ctx context.Context, pid int, plan Plan) error {
	if plan.helpers.uid != "" {
		if err := runHelper(ctx, plan.helpers.uid, pid, plan.uids); err != nil {
			return err
		}
		return runHelper(ctx, plan.helpers.gid, pid, plan.gids)
	}
	proc := "/proc/" + strconv.Itoa(pid) + "/"
	if plan.GIDs == 1 {
		// Since Linux 3.19 one's own gid may be mapped only after giving
		// up setgroups(2), user_namespaces(7).
		if err := writeProc(proc+"setgroups", "deny"); err != nil {
			return err
		}
	}
	if err := writeProc(proc+"uid_map", plan.uids.String()); err != nil {
		return err
	}
	return writeProc(proc+"gid_map", plan.gids.String())
}

// writeProc writes a control file in the single write(2) that it takes.
func writeProc(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return unavailable("map ids", err)
	}
	_, err = f.WriteString(text)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return &mapError{"map ids", err}
	}
	return nil
}

// runHelper runs newuidmap or newgidmap.
func runHelper(ctx context.Context, path string, pid int, m idMap) error {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, path, append([]string{strconv.Itoa(pid)}, m.args()...)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		if text := strings.TrimSpace(out.String()); text != "" {
			return &mapError{"map ids with " + path, fmt.Errorf("%w: %s", err, text)}
		}
		return &mapError{"map ids with " + path, err}
	}
	return nil
}
