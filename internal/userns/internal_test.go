package userns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestParseSubids(t *testing.T) {
	const file = `# comment
alice:100000:65536
bob:165536:65536
1000:300000:10
alice:300005:10
alice:4294967290:10
alice:x:5
alice:5:-1
alice:99999999999:5
alice:7:0
:1:1
alice:1
 alice:400000:1
`
	own, free, err := parseSubids(strings.NewReader(file), "alice", 1000)
	if err != nil {
		t.Fatal(err)
	}
	want := []Range{{100000, 65536}, {300000, 10}, {400000, 1}} // the overlapping one is dropped
	if diff := cmp.Diff(want, own); diff != "" {
		t.Error(diff)
	}
	if free != 100000+5*65536 {
		t.Errorf("first free id %d", free)
	}
	if own, _, _ := parseSubids(strings.NewReader(file), "carol", 2); own != nil {
		t.Errorf("carol has %v", own)
	}
}

func TestMapFor(t *testing.T) {
	cases := []struct {
		own    uint32
		ranges []Range
		want   string
	}{
		{1000, nil, "0 1000 1\n"},
		{1000, []Range{{100000, 65536}}, "0 1000 1\n1 100000 65536\n"},
		{1000, []Range{{100000, 5}, {200000, 7}}, "0 1000 1\n1 100000 5\n6 200000 7\n"},
		{100002, []Range{{100000, 5}}, "0 100002 1\n1 100000 2\n3 100003 2\n"},
		{100000, []Range{{100000, 5}}, "0 100000 1\n1 100001 4\n"},
	}
	for _, c := range cases {
		if got := mapFor(c.own, c.ranges).String(); got != c.want {
			t.Errorf("mapFor(%d, %v) = %q, want %q", c.own, c.ranges, got, c.want)
		}
	}
	var many []Range
	for i := range uint32(1000) {
		many = append(many, Range{100000 + 10*i, 5})
	}
	if got := len(mapFor(1, many)); got != maxExtents {
		t.Errorf("%d extents, want the kernel's limit %d", got, maxExtents)
	}
}

func TestPlan(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const uid = 4000000 // has no name
	some, none := write("some", fmt.Sprintf("%d:100000:65536\n", uid)), write("none", "x:165536:65536\n")
	found := func(name string) (string, error) { return "/usr/bin/" + name, nil }
	missing := func(string) (string, error) { return "", fs.ErrNotExist }
	cases := []struct {
		name           string
		f              files
		uids           uint32
		why, whatToDo  string
		helperExpected bool
	}{
		{"both", files{some, some, found}, 65537, "", "", true},
		{"neither", files{none, none, found}, 1, "no ranges", "echo 4000000:231072:65536 | sudo tee -a /etc/subuid /etc/subgid", false},
		{"noFile", files{filepath.Join(dir, "no"), filepath.Join(dir, "no"), found}, 1, "no ranges", "echo 4000000:100000:65536", false},
		{"noUIDs", files{none, some, found}, 1, "/etc/subuid", "tee -a /etc/subuid", false},
		{"noGIDs", files{some, none, found}, 1, "/etc/subgid", "tee -a /etc/subgid", false},
		{"noHelpers", files{some, some, missing}, 1, "newuidmap and newgidmap", "uidmap", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p, err := makePlan(Status{}, uid, uid, c.f)
			if err != nil {
				t.Fatal(err)
			}
			if p.UIDs != c.uids || !strings.Contains(p.Shortfall, c.why) || !strings.Contains(p.Remedy, c.whatToDo) || (p.helpers.uid != "") != c.helperExpected {
				t.Errorf("got %+v", p)
			}
			if c.why == "" && p.Shortfall+p.Remedy != "" {
				t.Errorf("got %+v, want no shortfall", p)
			}
		})
	}
}

func TestClassify(t *testing.T) {
	all := uint64(1)<<41 - 1
	full, many, one := idMap{{0, 0, fullRange}}, idMap{{0, 1000, 1}, {1, 100000, 65536}}, idMap{{0, 1000, 1}}
	cases := []struct {
		f     facts
		kind  Kind
		outer uint32
		mount bool
		mknod bool
		text  string
		needs bool
	}{
		{facts{0, full, full, all, true, true}, HostRoot, 0, true, true, "root", false},
		{facts{0, full, full, all, false, true}, Mapped, 0, true, false, "root of a user namespace with 4294967295 uids and 4294967295 gids", false},
		{facts{0, full, full, all &^ (1 << unix.CAP_SYS_ADMIN), true, true}, HostRoot, 0, false, true, "root, without CAP_SYS_ADMIN", true},
		{facts{0, full, full, all &^ (1 << unix.CAP_MKNOD), true, true}, HostRoot, 0, true, false, "root, without CAP_MKNOD", false},
		{facts{1000, full, full, 0, true, true}, Unprivileged, 1000, false, false, "ordinary user with uid 1000", true},
		{facts{0, many, many, all, false, true}, Mapped, 1000, true, false, "root of a user namespace with 65537 uids and 65537 gids", false},
		{facts{0, one, one, all, false, false}, SingleID, 1000, true, false, "root of a user namespace with one id", false},
		{facts{0, many, one, all, false, false}, SingleID, 1000, true, false, "root of a user namespace with one id", false},
	}
	for _, c := range cases {
		s := classify(c.f)
		if s.Kind != c.kind || s.OuterUID != c.outer || s.Mount != c.mount || s.Mknod != c.mknod || s.String() != c.text || s.NeedsEnter() != c.needs {
			t.Errorf("%+v: got %+v %q", c.f, s, s)
		}
	}
}

func TestDiagnose(t *testing.T) {
	cases := []struct {
		name  string
		err   error
		files map[string]string
		why   string
	}{
		{"none left", unix.ENOSPC, nil, "limit"},
		{"switched off", unix.ENOSPC, map[string]string{"/proc/sys/user/max_user_namespaces": "0\n"}, "user.max_user_namespaces is 0"},
		{"debian", unix.EPERM, map[string]string{"/proc/sys/kernel/unprivileged_userns_clone": "0\n"}, "unprivileged_userns_clone"},
		{"ubuntu", unix.EACCES, map[string]string{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"}, "AppArmor"},
		{"container", unix.EPERM, map[string]string{"/proc/self/status": "Name:\tx\nSeccomp:\t2\n"}, "seccomp"},
		{"old kernel", unix.EINVAL, nil, "no user namespaces"},
		{"unknown", unix.EIO, nil, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			read := func(path string) ([]byte, error) {
				if text, ok := c.files[path]; ok {
					return []byte(text), nil
				}
				return nil, fs.ErrNotExist
			}
			why, remedy := diagnose(c.err, read)
			if !strings.Contains(why, c.why) || (why != "") != (remedy != "") {
				t.Errorf("got %q and %q, want %q", why, remedy, c.why)
			}
		})
	}
	err := error(&UnavailableError{"create user namespace", unix.EPERM, "because", "do this"})
	if !errors.Is(err, unix.EPERM) || err.Error() != "create user namespace: operation not permitted (because); do this" {
		t.Errorf("got %q", err)
	}
}

// FuzzSubids takes any file: no range leaves 32 bits, none overlaps another,
// and the map made of them has no outer id twice.
func FuzzSubids(f *testing.F) {
	f.Add("a:100000:65536\na:1:2\n1000:5:5\n", uint32(1000))
	f.Add("a:4294967295:1\na:0:4294967295", uint32(0))
	f.Fuzz(func(t *testing.T, text string, own uint32) {
		ranges, _, err := parseSubids(strings.NewReader(text), "a", 1000)
		if err != nil {
			return // a line longer than the scanner's buffer
		}
		m := mapFor(own, ranges)
		for i, a := range m {
			if a.size == 0 || uint64(a.outside)+uint64(a.size) > 1<<32 || uint64(a.inside)+uint64(a.size) > 1<<32 {
				t.Fatalf("%v leaves 32 bits", a)
			}
			for _, b := range m[:i] {
				if a.outside < b.outside+b.size && b.outside < a.outside+a.size {
					t.Fatalf("%v overlaps %v", a, b)
				}
			}
		}
	})
}

// FuzzMap takes any id map; what it accepts reads back the same.
func FuzzMap(f *testing.F) {
	f.Add("         0       1000          1\n         1     100000      65536\n")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseMap([]byte(text))
		if err != nil {
			return
		}
		again, err := parseMap([]byte(m.String()))
		if err != nil || !cmp.Equal(m, again, cmp.AllowUnexported(extent{})) {
			t.Fatalf("%v reads back as %v, %v", m, again, err)
		}
	})
}
