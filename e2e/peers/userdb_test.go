package peers_test

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/testtar"
)

// userCase is an image whose user, user database or volumes are hostile or
// broken, and what byhand says instead of starting it, or the facts it starts
// with.
type userCase struct {
	user    string
	layer   []testtar.Entry // over the base
	volumes []string
	says    string
	facts   map[string]string
}

func userCases() map[string]userCase {
	passwd := func(content string, o ...testtar.Option) []testtar.Entry {
		return []testtar.Entry{testtar.File("etc/passwd", content, o...)}
	}
	root := map[string]string{"uid": "0", "gid": "0"}
	return map[string]userCase{
		"number that overflows":          {user: "4294967296", says: "up to 2147483647"},
		"group that overflows":           {user: "0:4294967296", says: "up to 2147483647"},
		"number that is all ones":        {user: "4294967295", says: "up to 2147483647"},
		"entry that overflows":           {user: "big", layer: passwd("big:x:4294967296:0::/:/bin/sh\n"), says: "up to 2147483647 in /etc/passwd"},
		"entry that is no number":        {user: "bad", layer: passwd("bad:x:zero:0::/:/bin/sh\n"), says: "in /etc/passwd"},
		"entry with a sign":              {user: "plus", layer: passwd("plus:x:+0:0::/:/bin/sh\n"), says: "in /etc/passwd"},
		"name that is not there":         {user: "nobody-there", says: "expected an entry in the image's /etc/passwd, found none"},
		"database that a layer deletes":  {user: "app", layer: []testtar.Entry{testtar.Whiteout("etc/passwd")}, says: "found none"},
		"directory that a layer deletes": {user: "app", layer: []testtar.Entry{testtar.Whiteout("etc")}, says: "found none"},
		"FIFO":                           {layer: []testtar.Entry{testtar.Fifo("etc/passwd")}, says: "expected a regular file, found a FIFO"},
		"device":                         {layer: []testtar.Entry{testtar.Char("etc/group", 1, 5)}, says: "expected a regular file, found a device"},
		"database of eleven megabytes":   {layer: passwd(strings.Repeat("#\n", 11<<19)), says: "at most 10485760 bytes"},
		"line of a megabyte": {
			user: "app", layer: passwd("#" + strings.Repeat("x", 1<<20) + "\n" + enginePasswd), says: "token too long", // runc reads the file too
		},
		"link to the machine's": {
			user: "man", layer: []testtar.Entry{testtar.Symlink("etc/passwd", "../../../../../../etc/shadow")}, says: "found none",
		},
		"absolute link inside the image": {
			user:  "app",
			layer: []testtar.Entry{testtar.Symlink("etc/passwd", "/made/passwd"), testtar.File("made/passwd", enginePasswd)},
			facts: map[string]string{"uid": "1000", "gid": "1001", "groups": "1001 10 50"},
		},
		"volume over a file":         {volumes: []string{"/facts"}, says: "/facts in the image: expected a directory for the volume, found a regular file"},
		"volume over everything":     {volumes: []string{"/"}, says: "expected a directory other than /"},
		"volume that leads to it":    {volumes: []string{"/up"}, layer: []testtar.Entry{testtar.Symlink("up", "..")}, says: "/up"},
		"volume where the runtime's": {volumes: []string{"/proc/sys", "/dev/shm", "/sys/fs/cgroup"}, facts: root},
		"volume that leads outside": {
			volumes: []string{"/data"}, layer: []testtar.Entry{testtar.Symlink("data", "/etc/apt")},
			facts: map[string]string{"volume./data/.": "directory 755 0:0 ", "volume./data/./sources.list.d": ""},
		},
		"proc that is a link": {layer: []testtar.Entry{testtar.Whiteout("proc"), testtar.Symlink("proc", "/etc")}, says: "/proc in the image: expected a directory or nothing"},
	}
}

// TestHostileUsers: no image makes its process root, or byhand wait or read
// the machine's files, by what its user database says.
func TestHostileUsers(t *testing.T) {
	testneed.Root(t)
	testneed.Tool(t, "runc", "busybox", "go", "prlimit")
	e := newEngines(t)
	for _, name := range slices.Sorted(maps.Keys(userCases())) {
		t.Run(name, func(t *testing.T) {
			c := userCases()[name]
			volumes := map[string]any{}
			for _, v := range c.volumes {
				volumes[v] = map[string]any{}
			}
			image := filepath.Join(e.dir, "hostile-"+strings.ReplaceAll(name, " ", "-"))
			i := engineImage{extra: c.layer}
			writeImageConfig(t, image, i.tars(t), map[string]any{"Cmd": []string{"/bin/sh", "/facts"}, "User": c.user, "Volumes": volumes})
			start := time.Now()
			got := e.byhand(t, image)
			if took := time.Since(start); took > 2*time.Minute {
				t.Errorf("took %s", took)
			}
			if c.says != "" && !strings.Contains(got["fails"], c.says) || c.says == "" && got["fails"] != "" {
				t.Errorf("expected to fail with %q, found %q, uid %q", c.says, got["fails"], got["uid"])
			}
			for fact, want := range c.facts {
				if got[fact] != want {
					t.Errorf("%s: expected %q, found %q", fact, want, got[fact])
				}
			}
		})
	}
}
