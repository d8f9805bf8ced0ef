package bundle_test

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/byhand/byhand/bundle"
	"github.com/byhand/byhand/internal/testneed"
)

func TestUser(t *testing.T) {
	for _, tc := range []struct {
		user     string
		uid, gid uint32
		groups   []uint32
		home     string
	}{
		{"", 0, 0, []uint32{0, 10}, "/root"},
		{"root", 0, 0, []uint32{0, 10}, "/root"},
		{"0", 0, 0, []uint32{0, 10}, "/root"},
		{":", 0, 0, []uint32{0, 10}, "/root"},
		{":staff", 0, 50, []uint32{50}, "/root"},
		{"app", 1000, 1001, []uint32{1001, 10, 50}, "/home/app"},
		{"app:", 1000, 1001, []uint32{1001, 10, 50}, "/home/app"},
		{"1000", 1000, 1001, []uint32{1001, 10, 50}, "/home/app"},
		{"01000", 1000, 1001, []uint32{1001, 10, 50}, "/home/app"},
		{"app:staff", 1000, 50, []uint32{50}, "/home/app"},
		{"app:0", 1000, 0, []uint32{0}, "/home/app"},
		{"1000:4294", 1000, 4294, []uint32{4294}, "/home/app"},
		{"4321", 4321, 0, []uint32{0}, "/"},
		{"4321:wheel", 4321, 10, []uint32{10}, "/"},
		{"2147483647:2147483647", 2147483647, 2147483647, []uint32{2147483647}, "/"},
		{"12", 12, 0, []uint32{0}, "/"}, // a number, although there is a user of that name
		{"77", 77, 77, []uint32{77}, "/twelve"},
		{"nohome", 1004, 1004, []uint32{1004}, "/"},
		{"badgid:5", 1003, 5, []uint32{5}, "/"},
	} {
		t.Run(tc.user, func(t *testing.T) {
			r := spec(t, `{"config":{"User":"app","Cmd":["a"]}}`, bundle.Options{User: tc.user})
			if tc.user == "" {
				r = spec(t, `{"config":{"Cmd":["a"]}}`, bundle.Options{})
			}
			want := specs.User{UID: tc.uid, GID: tc.gid, AdditionalGids: tc.groups}
			if diff := cmp.Diff(want, r.Spec.Process.User); diff != "" {
				t.Errorf("user (-want +got):\n%s", diff)
			}
			if home := "HOME=" + tc.home; !slices.Contains(r.Spec.Process.Env, home) {
				t.Errorf("expected %s in %q", home, r.Spec.Process.Env)
			}
		})
	}
}

func TestUserErrors(t *testing.T) {
	for _, user := range []string{
		"nosuch", "app:nosuch", "bad", "big", "minus", "plus", "space", "badgid", "short", "+nis", "-nis2",
		"2147483648", "4294967295", "4294967296", "99999999999999999999", "1:2147483648", "app:over", "app:broken",
		"app:staff:x", "-1", "+5", "0x0", " 0", "1003", "root ", "#", "# users",
	} {
		config := imageConfig(t, map[string]any{"User": user, "Cmd": []string{"a"}})
		r, err := bundle.Spec([]byte(config), testRoot(), bundle.Options{Host: testHost()})
		var ue *bundle.UserError
		if !errors.As(err, &ue) || ue.User != user {
			t.Errorf("user %q: expected a UserError, found %v and %+v", user, err, r.Spec)
		}
	}
}

// TestUserMalformed tells what can be seen without a root filesystem: of the
// caller's user without an image, of the image's without its layers.
func TestUserMalformed(t *testing.T) {
	for user, malformed := range map[string]bool{
		"4294967296": true, "2147483648": true, "0:4294967296": true, "app:99999999999999999999": true,
		"a:b:c": true, "-1": true, "+5": true, "0:-1": true, "a\nb": true,
		"": false, ":": false, "nosuch": false, "2147483647:0": false, "0x10": false, "a:": false,
	} {
		config := imageConfig(t, map[string]any{"User": user, "Cmd": []string{"a"}})
		o := withHost(bundle.Options{User: user})
		var oe *bundle.OptionError
		if err := bundle.CheckOptions(o); errors.As(err, &oe) != malformed || malformed && oe.Option != "user" {
			t.Errorf("--user %q: malformed is %v, found %v", user, malformed, err)
		}
		var ue *bundle.UserError
		if err := bundle.Check([]byte(config), withHost(bundle.Options{})); errors.As(err, &ue) != malformed {
			t.Errorf("image user %q: malformed is %v, found %v", user, malformed, err)
		}
		if err := bundle.Check([]byte(config), withHost(bundle.Options{User: "0"})); err != nil {
			t.Errorf("image user %q, replaced: %v", user, err)
		}
	}
}

// TestUserWithoutFiles has an image that is a single program.
func TestUserWithoutFiles(t *testing.T) {
	for user, want := range map[string]specs.User{
		"":    {AdditionalGids: []uint32{0}},
		"7":   {UID: 7, AdditionalGids: []uint32{0}},
		"7:8": {UID: 7, GID: 8, AdditionalGids: []uint32{8}},
	} {
		r, err := bundle.Spec([]byte(`{"config":{"Cmd":["a"]}}`), fstest.MapFS{}, bundle.Options{User: user, Host: testHost()})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, r.Spec.Process.User); diff != "" {
			t.Errorf("user %q (-want +got):\n%s", user, diff)
		}
	}
	_, err := bundle.Spec([]byte(`{"config":{"User":"root","Cmd":["a"]}}`), fstest.MapFS{}, bundle.Options{Host: testHost()})
	var ue *bundle.UserError
	if !errors.As(err, &ue) {
		t.Errorf("user root without /etc/passwd: expected a UserError, found %v", err)
	}
}

// TestUserLongLine has a line that line readers with a fixed buffer give up on.
func TestUserLongLine(t *testing.T) {
	root := testRoot()
	root["etc/group"] = &fstest.MapFile{Data: []byte("many:x:5:" + strings.Repeat("somebody,", 20000) + "app\n" + testGroup)}
	r, err := bundle.Spec([]byte(`{"config":{"User":"app","Cmd":["a"]}}`), root, bundle.Options{Host: testHost()})
	if err != nil {
		t.Fatal(err)
	}
	if want := []uint32{1001, 5, 10, 50}; !slices.Equal(r.Spec.Process.User.AdditionalGids, want) {
		t.Errorf("expected %v, found %v", want, r.Spec.Process.User.AdditionalGids)
	}
}

// TestMany has files and variables by the hundred thousand, which must not
// take time with their square.
func TestMany(t *testing.T) {
	var group, env strings.Builder
	for i := range 300000 {
		fmt.Fprintf(&group, "g:x:%d:app\n", i+5000)
		fmt.Fprintf(&env, `"V%d=x",`, i)
	}
	root := testRoot()
	root["etc/group"] = &fstest.MapFile{Data: []byte(group.String())}
	config := `{"config":{"Env":[` + strings.TrimSuffix(env.String(), ",") + `],"Cmd":["a"]}}`
	start := testneed.CPUTime(t)
	r := spec(t, config, bundle.Options{})
	if len(r.Spec.Process.Env) != 300002 {
		t.Errorf("%d variables", len(r.Spec.Process.Env))
	}
	_, err := bundle.Spec([]byte(config), root, bundle.Options{User: "app", Host: testHost()})
	var ue *bundle.UserError
	if !errors.As(err, &ue) || ue.Got != "300000" {
		t.Errorf("in 300000 groups: expected a UserError, found %v", err)
	}
	if took := testneed.CPUTime(t) - start; took > 30*time.Second {
		t.Errorf("took %v", took)
	}
}

// FuzzUser checks that nobody becomes root, or a member of root's group, whom
// the files do not name as such in so many words.
func FuzzUser(f *testing.F) {
	f.Add(testPasswd, testGroup, "app")
	f.Add(testPasswd, testGroup, "bad")
	f.Add("a:x:4294967296:0:::\n", "", "a")
	f.Add("a:x:1:1:::\n", "g:x:18446744073709551616:a\n", "a")
	f.Add("a:x:0x0:-0:::\n", "g:x: 0:a", "a:g")
	f.Add("", "", "4294967296:00")
	host := testHost()
	f.Fuzz(func(t *testing.T, passwd, group, user string) {
		if user == "" || len(passwd)+len(group) > 1<<16 {
			return
		}
		root := fstest.MapFS{"etc/passwd": {Data: []byte(passwd)}, "etc/group": {Data: []byte(group)}}
		r, err := bundle.Spec([]byte(`{"config":{"Cmd":["a"]}}`), root, bundle.Options{User: user, NoSeccomp: true, Host: host})
		if err != nil {
			return
		}
		u := r.Spec.Process.User
		name, groupName, _ := strings.Cut(strings.ToValidUTF8(user, "?"), ":")
		zero := `0+`
		number := regexp.MustCompile(`^` + zero + `$`)
		if u.UID == 0 && name != "" && !number.MatchString(name) &&
			!hasLine(passwd, regexp.QuoteMeta(name)+`:[^:\n]*:`+zero+`:`) {
			t.Errorf("user %q is root, by\n%s", user, passwd)
		}
		rootGroup := number.MatchString(groupName) || groupName != "" && hasLine(group, regexp.QuoteMeta(groupName)+`:[^:\n]*:`+zero+`(:|\s*$)`)
		if groupName == "" {
			_, err := parseDigits(name)
			rootGroup = name == "" || err == nil || hasLine(passwd, regexp.QuoteMeta(name)+`:[^:\n]*:[0-9]+:`+zero+`(:|\s*$)`)
		}
		if u.GID == 0 && !rootGroup {
			t.Errorf("user %q is in group 0, by\n%s\n%s", user, passwd, group)
		}
		for _, gid := range u.AdditionalGids {
			if gid == 0 && u.GID != 0 && !hasLine(group, `[^:\n]*:[^:\n]*:`+zero+`:`) {
				t.Errorf("user %q is in group 0, by\n%s", user, group)
			}
		}
	})
}

func hasLine(text, pattern string) bool {
	return regexp.MustCompile(`(?m)^\s*` + pattern).MatchString(strings.ToValidUTF8(text, "?"))
}

func parseDigits(s string) (string, error) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return "", errors.New("not a number")
	}
	return s, nil
}
