package bundle

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

const (
	// maxID is the largest user or group ID that runc accepts. The largest
	// that the kernel has means "unchanged" to setuid(2), so that a process
	// given it keeps running as root.
	maxID = math.MaxInt32
	// groupsLimit is NGROUPS_MAX, the most that setgroups(2) takes.
	groupsLimit = 65536
	// userDBLimit bounds /etc/passwd and /etc/group.
	userDBLimit = 10 << 20
)

// identity is whom the container runs as.
type identity struct {
	UID, GID uint32
	Groups   []uint32 // supplementary groups, without GID
	Home     string
}

// userDB holds the lines of the root's passwd and group files.
type userDB struct{ passwd, group []byte }

// loadUsers reads the user database. A file that is missing is empty.
func loadUsers(t tree) (userDB, error) {
	passwd, err := t.readFile("/etc/passwd", userDBLimit)
	if err != nil {
		return userDB{}, err
	}
	group, err := t.readFile("/etc/group", userDBLimit)
	return userDB{passwd, group}, err
}

// malformedUser tells what is wrong with spec, USER[:GROUP], whatever the
// database holds: which part, and what it should be.
func malformedUser(spec string) (part, want string) {
	name, group, _ := strings.Cut(spec, ":")
	if strings.Contains(group, ":") {
		return group, "USER or USER:GROUP, each a name or a number"
	}
	for i, part := range []string{name, group} {
		_, err := parseID(part)
		switch {
		case strings.ContainsAny(part, "\x00\n"):
			return part, "a name on one line"
		case isDigits(part) && err != nil:
			return part, "a " + [...]string{"user", "group"}[i] + " ID up to 2147483647"
		case part != "" && strings.IndexByte("+-", part[0]) >= 0:
			return part, "a name, or a number without sign"
		}
	}
	return "", ""
}

// lookup finds spec, USER[:GROUP] (image-spec config.md, "User"). A part that
// is all digits is a number, even if the database has it as a name. With a
// group the supplementary groups are none; without one they are the user's,
// and the primary group is the passwd entry's or 0.
func (db userDB) lookup(spec string) (identity, error) {
	name, groupName, _ := strings.Cut(spec, ":")
	id := identity{Home: "/"}
	entry, err := db.user(spec, name)
	if err != nil {
		return id, err
	}
	id.UID = entry.uid
	if strings.HasPrefix(entry.home, "/") && !strings.Contains(entry.home, "\x00") {
		id.Home = entry.home
	}
	if groupName != "" {
		id.GID, err = db.groupID(spec, groupName)
		return id, err
	}
	// Without any user the container is root, whatever passwd calls group 0.
	if entry.found && name != "" {
		if id.GID, err = parseID(entry.gid); err != nil {
			return id, &UserError{User: spec, Part: name, Want: "a group ID up to 2147483647 in /etc/passwd", Got: strconv.Quote(entry.gid)}
		}
	}
	if entry.found {
		id.Groups = db.memberships(entry.name, id.GID)
	}
	if len(id.Groups) >= groupsLimit {
		return id, &UserError{User: spec, Part: name, Want: fmt.Sprintf("fewer than %d groups", groupsLimit), Got: strconv.Itoa(len(id.Groups))}
	}
	return id, nil
}

type passwdEntry struct {
	found      bool
	uid        uint32
	name, home string
	gid        string // as written: it matters only where no group is given
}

// user finds the entry of name. The number of a name that is a number need
// not be there.
func (db userDB) user(spec, name string) (passwdEntry, error) {
	numeric := name == "" || isDigits(name)
	var want uint32
	if name != "" {
		want, _ = parseID(name) // a name has none; malformedUser has seen the others
	}
	for f := range entries(db.passwd) {
		if len(f) < 4 {
			continue
		}
		uid, err := parseID(f[2])
		if numeric && (err != nil || uid != want) || !numeric && f[0] != name {
			continue
		}
		if err != nil {
			return passwdEntry{}, &UserError{User: spec, Part: name, Want: "a user ID up to 2147483647 in /etc/passwd", Got: strconv.Quote(f[2])}
		}
		e := passwdEntry{found: true, uid: uid, name: f[0], gid: f[3]}
		if len(f) > 5 {
			e.home = f[5]
		}
		return e, nil
	}
	if !numeric {
		return passwdEntry{}, &UserError{User: spec, Part: name, Want: "an entry in the image's /etc/passwd", Got: "none"}
	}
	return passwdEntry{uid: want}, nil
}

// groupID finds the group that was asked for by name or number.
func (db userDB) groupID(spec, name string) (uint32, error) {
	if isDigits(name) {
		return parseID(name)
	}
	for f := range entries(db.group) {
		if len(f) < 3 || f[0] != name {
			continue
		}
		id, err := parseID(f[2])
		if err != nil {
			return 0, &UserError{User: spec, Part: name, Want: "a group ID up to 2147483647 in /etc/group", Got: strconv.Quote(f[2])}
		}
		return id, nil
	}
	return 0, &UserError{User: spec, Part: name, Want: "an entry in the image's /etc/group", Got: "none"}
}

// memberships lists the groups that have user as a member, except primary, in
// the file's order. A line with a malformed ID gives no group.
func (db userDB) memberships(user string, primary uint32) []uint32 {
	var ids []uint32
	seen := map[uint32]bool{primary: true}
	for f := range entries(db.group) {
		if len(f) < 4 || !slices.Contains(strings.Split(f[3], ","), user) {
			continue
		}
		id, err := parseID(f[2])
		if err != nil || seen[id] {
			continue
		}
		seen[id] = true
		ids = append(ids, id)
	}
	return ids
}

// entries yields the colon-separated fields of each entry. Lines that begin
// with + or - speak to NIS (passwd(5)), and those with # to people.
func entries(data []byte) func(yield func([]string) bool) {
	return func(yield func([]string) bool) {
		for line := range bytes.Lines(data) {
			line = bytes.Trim(line, " \t\n\f\r")
			if len(line) == 0 || bytes.IndexByte([]byte("#+-"), line[0]) >= 0 {
				continue
			}
			if !yield(strings.Split(string(line), ":")) {
				return
			}
		}
	}
}

// parseID takes decimal digits only: no sign, no space, no other base.
func parseID(s string) (uint32, error) {
	if !isDigits(s) {
		return 0, fmt.Errorf("parse ID %q: expected digits", s)
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n > maxID {
		return 0, fmt.Errorf("parse ID %q: expected at most %d", s, maxID)
	}
	return uint32(n), nil
}

func isDigits(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
