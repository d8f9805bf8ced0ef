package userns

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Plan is how [Enter] would map the ids of this process.
type Plan struct {
	// UIDs and GIDs count the ids that the namespace will have.
	UIDs, GIDs uint32
	// Shortfall says why the namespace will have one id only, and Remedy
	// what the administrator can type; both are empty otherwise.
	Shortfall, Remedy string

	uids, gids idMap
	helpers    helpers
}

// helpers are the set-user-ID programs that write maps of many ids. They are
// empty where this process may write the maps itself.
type helpers struct{ uid, gid string }

// files is what planning reads; tests put others in place.
type files struct {
	subuid, subgid string
	lookPath       func(string) (string, error)
}

// MakePlan reads /etc/subuid and /etc/subgid and looks for the helpers. It
// changes nothing.
func MakePlan() (Plan, error) {
	s, err := Inspect()
	if err != nil {
		return Plan{}, err
	}
	return makePlan(s, os.Geteuid(), os.Getegid(), files{"/etc/subuid", "/etc/subgid", lookPath})
}

// Remedy is what to type so that the user who this process is outside any
// namespace of its own has more ids: the line for /etc/subuid, where there is
// none.
func Remedy() string {
	s, err := Inspect()
	if err != nil || s.Kind == HostRoot {
		return ""
	}
	uid := int(s.OuterUID)
	p, err := makePlan(Status{UIDs: 1}, uid, uid, files{"/etc/subuid", "/etc/subgid", lookPath})
	switch {
	case err != nil:
		return ""
	case p.Shortfall != "":
		return p.Shortfall + "; to change that: " + p.Remedy
	}
	return "give " + userName(uid) + " larger ranges in /etc/subuid and /etc/subgid"
}

func makePlan(s Status, euid, egid int, f files) (Plan, error) {
	if euid == 0 && s.UIDs > 1 {
		return rootPlan()
	}
	name := userName(euid)
	uids, freeUID, err := subidFile(f.subuid, name, euid)
	if err != nil {
		return Plan{}, err
	}
	gids, freeGID, err := subidFile(f.subgid, name, euid)
	if err != nil {
		return Plan{}, err
	}
	p := Plan{uids: mapFor(uint32(euid), uids), gids: mapFor(uint32(egid), gids)}
	var missing []string
	for _, h := range []struct {
		name string
		path *string
	}{{"newuidmap", &p.helpers.uid}, {"newgidmap", &p.helpers.gid}} {
		if *h.path, err = f.lookPath(h.name); err != nil {
			missing = append(missing, h.name)
		}
	}
	free := max(freeUID, freeGID)
	line := fmt.Sprintf("echo %s:%d:%d | sudo tee -a /etc/subuid /etc/subgid", name, free, subidCount)
	switch {
	case len(uids) == 0 && len(gids) == 0:
		p.single(euid, egid, fmt.Sprintf("%s has no ranges in /etc/subuid and /etc/subgid", name), line)
	case len(uids) == 0:
		p.single(euid, egid, name+" has no range in /etc/subuid", strings.Replace(line, " /etc/subgid", "", 1))
	case len(gids) == 0:
		p.single(euid, egid, name+" has no range in /etc/subgid", strings.Replace(line, " /etc/subuid", "", 1))
	case len(missing) > 0:
		p.single(euid, egid, strings.Join(missing, " and ")+" not found",
			"install the package uidmap (Debian, Ubuntu) or shadow-utils (Fedora) or shadow-subids (Alpine)")
	}
	p.UIDs, p.GIDs = p.uids.count(), p.gids.count()
	return p, nil
}

// single reduces the plan to one id, with the reason.
func (p *Plan) single(euid, egid int, why, remedy string) {
	p.uids, p.gids = mapFor(uint32(euid), nil), mapFor(uint32(egid), nil)
	p.helpers = helpers{}
	p.Shortfall, p.Remedy = why, remedy
	p.UIDs, p.GIDs = 1, 1
}

// rootPlan keeps every id that root without CAP_SYS_ADMIN has, as in a
// container: it may write such a map itself.
func rootPlan() (Plan, error) {
	var p Plan
	for _, m := range []struct {
		path string
		to   *idMap
	}{{"/proc/self/uid_map", &p.uids}, {"/proc/self/gid_map", &p.gids}} {
		text, err := os.ReadFile(m.path)
		if err != nil {
			return Plan{}, fmt.Errorf("read id map: %w", err)
		}
		if *m.to, err = parseMap(text); err != nil {
			return Plan{}, fmt.Errorf("read %s: %w", m.path, err)
		}
		for i := range *m.to {
			(*m.to)[i].outside = (*m.to)[i].inside
		}
	}
	p.UIDs, p.GIDs = p.uids.count(), p.gids.count()
	return p, nil
}

// lookPath finds a program on PATH and in the system directories, which an
// ordinary user's PATH often lacks.
func lookPath(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"} {
		if path, err := exec.LookPath(dir + "/" + name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("find %s: %w", name, exec.ErrNotFound)
}
