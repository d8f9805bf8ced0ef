package bundle_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/byhand/byhand/bundle"
)

func TestArgs(t *testing.T) {
	none, empty, entry := (*[]string)(nil), &[]string{""}, &[]string{"/e", "-x"}
	for _, tc := range []struct {
		name, config string
		entrypoint   *[]string
		args         []string
		want         []string // nil: a CommandError
	}{
		{"both", `"Entrypoint":["e"],"Cmd":["c"]`, none, nil, []string{"e", "c"}},
		{"cmd", `"Cmd":["c","d"]`, none, nil, []string{"c", "d"}},
		{"entrypoint", `"Entrypoint":["e"]`, none, nil, []string{"e"}},
		{"args replace cmd", `"Entrypoint":["e"],"Cmd":["c"]`, none, []string{"a", "b c"}, []string{"e", "a", "b c"}},
		{"no args at all", `"Entrypoint":["e"],"Cmd":["c"]`, none, []string{}, []string{"e"}},
		{"entrypoint drops cmd", `"Entrypoint":["e"],"Cmd":["c"]`, entry, nil, []string{"/e", "-x"}},
		{"entrypoint and args", `"Entrypoint":["e"],"Cmd":["c"]`, entry, []string{"a"}, []string{"/e", "-x", "a"}},
		{"cleared, args", `"Entrypoint":["e"],"Cmd":["c"]`, empty, []string{"a"}, []string{"a"}},
		{"cleared", `"Entrypoint":["e"],"Cmd":["c"]`, empty, nil, nil},
		{"cleared by none", `"Entrypoint":["e"],"Cmd":["c"]`, &[]string{}, nil, nil},
		{"nothing", ``, none, nil, nil},
		{"shell form", `"Cmd":["/bin/sh","-c","a  'b' $c"],"ArgsEscaped":true,"Shell":["x"]`, none, nil, []string{"/bin/sh", "-c", "a  'b' $c"}},
		{"strings", `"Entrypoint":"e f","Cmd":"c"`, none, nil, []string{"e f", "c"}},
		{"empty string", `"Entrypoint":"","Cmd":["c"]`, none, nil, []string{"c"}},
		{"one empty word", `"Entrypoint":[""],"Cmd":["c"]`, none, nil, []string{"c"}},
		{"one empty word, args", `"Entrypoint":[""],"Cmd":["c"]`, none, []string{"a"}, []string{"a"}},
		{"one empty word alone", `"Entrypoint":[""]`, none, nil, nil},
		{"empty word and more", `"Entrypoint":["","e"]`, none, nil, []string{"", "e"}},
		{"empty argument", `"Cmd":["c",""]`, none, nil, []string{"c", ""}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := bundle.Spec([]byte(`{"config":{`+tc.config+`}}`), testRoot(),
				bundle.Options{Entrypoint: tc.entrypoint, Args: tc.args, Host: testHost()})
			if tc.want == nil {
				var ce *bundle.CommandError
				if cleared := tc.entrypoint != nil; !errors.As(err, &ce) || ce.Cleared != cleared {
					t.Errorf("expected a CommandError, Cleared %t, found %v", cleared, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, r.Spec.Process.Args); diff != "" {
				t.Errorf("args (-want +got):\n%s", diff)
			}
		})
	}
}

// TestCommand gives a bundle other arguments than it was made with: the same as if
// it had been made with them, unless its command line has been edited.
func TestCommand(t *testing.T) {
	config := []byte(`{"config":{"Entrypoint":["e","-x"],"Cmd":["c"]}}`)
	other := []string{"/o"}
	for _, tc := range []struct {
		name       string
		entrypoint *[]string
		args, want []string
	}{
		{"as made", nil, []string{"e", "-x", "c"}, []string{"e", "-x", "new"}},
		{"without arguments", nil, []string{"e", "-x"}, []string{"e", "-x", "new"}},
		{"edited", nil, []string{"e", "-y", "c"}, []string{"new"}},
		{"edited, shorter", nil, []string{"e"}, []string{"new"}},
		{"of an option", &other, []string{"/o"}, []string{"/o", "new"}},
		{"cleared by an option", &[]string{""}, []string{"a", "b"}, []string{"new"}},
	} {
		entrypoint, err := bundle.Entrypoint(config, bundle.Options{Entrypoint: tc.entrypoint})
		if err != nil {
			t.Fatal(err)
		}
		got := bundle.Image{Entrypoint: entrypoint}.Command(tc.args, []string{"new"})
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
	if _, err := bundle.Entrypoint([]byte("{"), bundle.Options{}); err == nil {
		t.Error("no error for half a config")
	}
}

func TestEnv(t *testing.T) {
	path := "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, tc := range []struct {
		name   string
		image  []string
		option []string
		tty    bool
		want   []string
	}{
		{"none", nil, nil, false, []string{path, "HOME=/root"}},
		{"last wins in place", []string{"A=1", "B=2", "A=3"}, []string{"B=4", "C=5", "C=6"}, false, []string{"A=3", "B=4", "C=6", path, "HOME=/root"}},
		{"empty path stays", []string{"PATH="}, nil, false, []string{"PATH=", "HOME=/root"}},
		{"empty home goes", []string{"HOME=", "PATH=/b"}, nil, false, []string{"HOME=/root", "PATH=/b"}},
		{"home stays", []string{"PATH=/b"}, []string{"HOME=/h"}, false, []string{"PATH=/b", "HOME=/h"}},
		{"removed", []string{"A=1", "PATH=/b"}, []string{"A"}, false, []string{"PATH=/b", "HOME=/root"}},
		{"removed, then default", []string{"PATH=/b"}, []string{"PATH", "NOT_THERE"}, false, []string{path, "HOME=/root"}},
		{"terminal", []string{"PATH=/b"}, nil, true, []string{"PATH=/b", "TERM=xterm", "HOME=/root"}},
		{"terminal of the image", []string{"PATH=/b", "TERM=dumb"}, nil, true, []string{"PATH=/b", "TERM=dumb", "HOME=/root"}},
		{"prefix", []string{"PATH2=x", "HOMER=y", "PATH=/b", "HOME=/h"}, []string{"HOM=z"}, false, []string{"PATH2=x", "HOMER=y", "PATH=/b", "HOME=/h", "HOM=z"}},
		{"equals in value", []string{"A==b=c", "PATH=/b", "HOME=/h"}, nil, false, []string{"A==b=c", "PATH=/b", "HOME=/h"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			config := imageConfig(t, map[string]any{"Env": tc.image, "Cmd": []string{"a"}})
			r := spec(t, config, bundle.Options{Env: tc.option, Terminal: tc.tty})
			if diff := cmp.Diff(tc.want, r.Spec.Process.Env); diff != "" {
				t.Errorf("env (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMalformedEnvOfTheImage(t *testing.T) {
	r := spec(t, `{"config":{"Cmd":["a"],"Env":["broken","=x","A=1"]}}`, bundle.Options{})
	for _, e := range r.Spec.Process.Env {
		if e == "broken" || e == "=x" {
			t.Errorf("%q is in the environment", e)
		}
	}
	if len(r.Warnings) != 2 || !strings.Contains(r.Warnings[0], `"broken"`) {
		t.Errorf("warnings %q", r.Warnings)
	}
}

func TestWorkdir(t *testing.T) {
	for _, tc := range [][3]string{
		{"", "", "/"}, {"/a b/..//c", "", "/a b/..//c"}, {"rel/a", "", "/rel/a"}, {"/a", "/data", "/data"},
	} {
		r := spec(t, imageConfig(t, map[string]any{"Cmd": []string{"a"}, "WorkingDir": tc[0]}), bundle.Options{Workdir: tc[1]})
		if r.Spec.Process.Cwd != tc[2] {
			t.Errorf("WorkingDir %q, --workdir %q: expected %q, found %q", tc[0], tc[1], tc[2], r.Spec.Process.Cwd)
		}
	}
}

func TestCapabilities(t *testing.T) {
	defaults := spec(t, `{"config":{"Cmd":["a"]}}`, bundle.Options{}).Spec.Process.Capabilities.Bounding
	if len(defaults) != 14 {
		t.Fatalf("default: %q", defaults)
	}
	minus := func(drop ...string) []string {
		return slices.DeleteFunc(slices.Clone(defaults), func(c string) bool { return slices.Contains(drop, c) })
	}
	all := testHost().Known
	for _, tc := range []struct {
		name      string
		add, drop []string
		want      []string
	}{
		{"default", nil, nil, defaults},
		{"add", []string{"net_admin", "CAP_NET_ADMIN", "cap_chown"}, nil, append(minus(), "CAP_NET_ADMIN")},
		{"drop", nil, []string{"Chown", "CAP_KILL"}, minus("CAP_CHOWN", "CAP_KILL")},
		{"add wins", []string{"KILL"}, []string{"KILL"}, append(minus("CAP_KILL"), "CAP_KILL")},
		{"drop all", nil, []string{"ALL"}, nil},
		{"drop all but", []string{"KILL", "BPF"}, []string{"all"}, []string{"CAP_KILL", "CAP_BPF"}},
		{"add all", []string{"all"}, nil, all},
		{"add all but", []string{"ALL"}, []string{"SYS_ADMIN"}, slices.DeleteFunc(slices.Clone(all), func(c string) bool { return c == "CAP_SYS_ADMIN" })},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := spec(t, `{"config":{"Cmd":["a"]}}`, bundle.Options{CapAdd: tc.add, CapDrop: tc.drop}).Spec.Process.Capabilities
			for _, got := range [][]string{c.Bounding, c.Effective, c.Permitted} {
				if !slices.Equal(got, tc.want) {
					t.Errorf("expected %q, found %q", tc.want, got)
				}
			}
			if len(c.Ambient)+len(c.Inheritable) > 0 {
				t.Errorf("root has ambient %q", c.Ambient)
			}
		})
	}
}

// TestCapabilitiesBounded has a caller who cannot pass on all there is.
func TestCapabilitiesBounded(t *testing.T) {
	o := bundle.Options{Host: testHost(), CapAdd: []string{"SYS_ADMIN"}}
	o.Host.Bounding = []string{"CAP_CHOWN", "CAP_KILL"}
	r := spec(t, `{"config":{"Cmd":["a"]}}`, o)
	if got := r.Spec.Process.Capabilities.Bounding; !slices.Equal(got, o.Host.Bounding) {
		t.Errorf("expected %q, found %q", o.Host.Bounding, got)
	}
	if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "CAP_SYS_ADMIN") {
		t.Errorf("warnings %q", r.Warnings)
	}
	o.Rootless = true
	if got := spec(t, `{"config":{"Cmd":["a"]}}`, o).Spec.Process.Capabilities.Bounding; len(got) != 15 {
		t.Errorf("in a new user namespace: %q", got)
	}
}

// TestSeccompFollowsCapabilities shows that the filter is computed last.
func TestSeccompFollowsCapabilities(t *testing.T) {
	allows := func(o bundle.Options, call string) bool {
		data, err := json.Marshal(spec(t, `{"config":{"Cmd":["a"]}}`, o).Spec.Linux.Seccomp)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(data), `"`+call+`"`)
	}
	if allows(bundle.Options{}, "delete_module") || !allows(bundle.Options{CapAdd: []string{"SYS_MODULE"}}, "delete_module") {
		t.Error("delete_module(2) should be allowed with CAP_SYS_MODULE only")
	}
	if !allows(bundle.Options{}, "chroot") || allows(bundle.Options{CapDrop: []string{"SYS_CHROOT"}}, "chroot") {
		t.Error("chroot(2) should be allowed with CAP_SYS_CHROOT only")
	}
	if spec(t, `{"config":{"Cmd":["a"]}}`, bundle.Options{NoSeccomp: true}).Spec.Linux.Seccomp != nil {
		t.Error("NoSeccomp leaves a filter")
	}
}
