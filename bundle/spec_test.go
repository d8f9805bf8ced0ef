package bundle_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/byhand/byhand/bundle"
)

func TestConfigErrors(t *testing.T) {
	for config, field := range map[string]string{
		``: "", `[]`: "", `null`: "", `{"config":`: "", `"x"`: "",
		`{"config":[]}`:                                 "config",
		`{"os":5}`:                                      "os",
		`{"created":1.5,"config":{"Cmd":["a"]}}`:        "created",
		`{"os.features":"x"}`:                           "os.features",
		`{"config":{"User":0}}`:                         "config.User",
		`{"config":{"Env":{"A":"1"}}}`:                  "config.Env",
		`{"config":{"Cmd":[1]}}`:                        "config.Cmd",
		`{"config":{"Volumes":["/a"]}}`:                 "config.Volumes",
		`{"config":{"Volumes":{"/":{}},"Cmd":[""]}}`:    "config.Volumes",
		`{"config":{"Volumes":{"a/..":{}},"Cmd":[""]}}`: "config.Volumes",
		`{"config":{"Labels":{"a":1}}}`:                 "config.Labels",
		`{"config":{"Cmd":["a\u0000b"]}}`:               "config.Cmd",
		`{"config":{"User":"a\u0000b"}}`:                "config.User",
		`{"config":{"Env":["A=a\u0000b"]}}`:             "config.Env",
	} {
		_, err := bundle.Spec([]byte(config), testRoot(), bundle.Options{Host: testHost()})
		var ce *bundle.ConfigError
		if !errors.As(err, &ce) || ce.Field != field {
			t.Errorf("%s: expected a ConfigError for %q, found %v", config, field, err)
		}
	}
}

// TestFirstError has several things wrong, of which always the same is named.
func TestFirstError(t *testing.T) {
	for range 20 {
		var ce *bundle.ConfigError
		err := bundle.Check([]byte(`{"config":{"User":"\u0000","Env":["\u0000"],"Cmd":["\u0000"]}}`), bundle.Options{Host: testHost()})
		if !errors.As(err, &ce) || ce.Field != "config.User" {
			t.Fatalf("expected a ConfigError for config.User, found %v", err)
		}
		var oe *bundle.OptionError
		err = bundle.Check([]byte(`{"config":{"Cmd":["a"]}}`), bundle.Options{Hostname: "/", Domainname: "/", Host: testHost()})
		if !errors.As(err, &oe) || oe.Option != "hostname" {
			t.Fatalf("expected an OptionError for hostname, found %v", err)
		}
	}
}

func TestPlatform(t *testing.T) {
	for os, ok := range map[string]bool{"": true, "linux": true, "windows": false, "Linux": false, "freebsd": false} {
		config := `{"os":"` + os + `","os.version":"10.0","architecture":"amd64","config":{"Cmd":["a"]}}`
		err := bundle.Check([]byte(config), bundle.Options{Host: testHost()})
		var pe *bundle.PlatformError
		if errors.As(err, &pe) == ok || ok && err != nil {
			t.Errorf("os %q: %v", os, err)
		}
		if !ok && !strings.Contains(err.Error(), os+"/amd64 10.0") {
			t.Errorf("os %q is not named: %v", os, err)
		}
	}
	for arch, warns := range map[string]bool{"amd64": false, "386": false, "": false, "arm64": true, "x86_64": true} {
		r := spec(t, `{"architecture":"`+arch+`","config":{"Cmd":["a"]}}`, bundle.Options{})
		if (len(r.Warnings) == 1) != warns {
			t.Errorf("architecture %q: warnings %q", arch, r.Warnings)
		}
	}
}

func TestOptionErrors(t *testing.T) {
	file := path.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		option string
		o      bundle.Options
	}{
		{"cap-add", bundle.Options{CapAdd: []string{"NOT_A_CAP"}}},
		{"cap-drop", bundle.Options{CapDrop: []string{""}}},
		{"network", bundle.Options{Network: "bridge"}},
		{"hostname", bundle.Options{Hostname: strings.Repeat("a", 65)}},
		{"hostname", bundle.Options{Hostname: "a/b"}},
		{"domainname", bundle.Options{Domainname: strings.Repeat("a", 65)}},
		{"workdir", bundle.Options{Workdir: "relative"}},
		{"env", bundle.Options{Env: []string{"=x"}}},
		{"env", bundle.Options{Env: []string{""}}},
		{"env", bundle.Options{Env: []string{"A=\x00"}}},
		{"entrypoint", bundle.Options{Args: []string{"a\x00"}}},
		{"entrypoint", bundle.Options{Entrypoint: &[]string{"a\x00"}}},
		{"volume", bundle.Options{Volumes: []string{"/tmp"}}},
		{"volume", bundle.Options{Volumes: []string{"name:/dst"}}},
		{"volume", bundle.Options{Volumes: []string{":/dst"}}},
		{"volume", bundle.Options{Volumes: []string{"/tmp:"}}},
		{"volume", bundle.Options{Volumes: []string{"/tmp:rel"}}},
		{"volume", bundle.Options{Volumes: []string{"/tmp:/"}}},
		{"volume", bundle.Options{Volumes: []string{"/tmp:/a/.."}}},
		{"volume", bundle.Options{Volumes: []string{"/tmp:/dst:z"}}},
		{"volume", bundle.Options{Volumes: []string{"/tmp:/dst:ro:ro"}}},
		{"volume", bundle.Options{Volumes: []string{file + "/nosuch:/dst"}}},
		{"volume", bundle.Options{Volumes: []string{"/tmp:/dst", "/:/dst/"}}},
	} {
		_, err := bundle.Spec([]byte(`{"config":{"Cmd":["a"]}}`), testRoot(), withHost(tc.o))
		var oe *bundle.OptionError
		if !errors.As(err, &oe) || oe.Option != tc.option {
			t.Errorf("%+v: expected an OptionError for %s, found %v", tc.o, tc.option, err)
		}
		if cerr := bundle.CheckOptions(withHost(tc.o)); cerr == nil || cerr.Error() != err.Error() {
			t.Errorf("%+v: Check says %v, Spec %v", tc.o, cerr, err)
		}
	}
	err := bundle.Check([]byte(`{"config":{"Cmd":["a"]}}`), withHost(bundle.Options{Volumes: []string{file + ".no:/dst"}}))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a source that does not exist: %v", err)
	}
}

func withHost(o bundle.Options) bundle.Options {
	o.Host = testHost()
	return o
}

func TestLabels(t *testing.T) {
	config := `{"config":{"Cmd":["a"],"Labels":{"bundle":"x","run.oci.hooks.stdout":"x","run.ociX":"stays","":"x",
		"dev.gvisor.flag.debug":"x","io.katacontainers.config.hypervisor.path":"x","bundles":"stays",
		"io.kubernetes.cri.sandbox-id":"x","io.kubernetes.cri-o.ContainerType":"container","cdi.k8s.io/gpu":"nvidia.com/gpu=all"}}}`
	r := spec(t, config, bundle.Options{})
	if diff := cmp.Diff(map[string]string{"run.ociX": "stays", "bundles": "stays"}, r.Spec.Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
	if len(r.Warnings) != 2 || !strings.Contains(r.Warnings[0], "no name") || !strings.Contains(r.Warnings[1], `"run.oci.hooks.stdout"`) || strings.Contains(r.Warnings[1], `""`) {
		t.Errorf("warnings %q", r.Warnings)
	}
	r = spec(t, config, bundle.Options{KeepRuntimeLabels: true})
	if len(r.Spec.Annotations) != 9 {
		t.Errorf("kept %q", r.Spec.Annotations)
	}
}

// TestGroupsLost has user namespaces that cannot have all of a user's groups.
func TestGroupsLost(t *testing.T) {
	ids := func(size uint32) []specs.LinuxIDMapping { return []specs.LinuxIDMapping{{HostID: 1, Size: size}} }
	for _, tc := range []struct {
		name   string
		o      bundle.Options
		groups []uint32
		warns  bool
	}{
		{"none", bundle.Options{User: "app"}, []uint32{1001, 10, 50}, false},
		{"made by the runtime", bundle.Options{User: "app", Rootless: true, UIDMappings: ids(65536), GIDMappings: ids(65536)}, nil, true},
		{"made by the runtime, root", bundle.Options{Rootless: true}, nil, false},
		{"there already", bundle.Options{User: "app", InUserNamespace: true, GIDMappings: ids(65536)}, []uint32{1001, 10, 50}, false},
		{"there, but small", bundle.Options{User: "app:", InUserNamespace: true, GIDMappings: []specs.LinuxIDMapping{
			{ContainerID: 0, HostID: 1, Size: 20}, {ContainerID: 1001, HostID: 100, Size: 1},
		}}, []uint32{1001, 10}, true},
		{"there, of one ID", bundle.Options{InUserNamespace: true, GIDMappings: ids(1)}, nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := spec(t, `{"config":{"Cmd":["a"]}}`, tc.o)
			if got := r.Spec.Process.User.AdditionalGids; !slices.Equal(got, tc.groups) || (len(r.Warnings) > 0) != tc.warns {
				t.Errorf("expected %v, found %v with warnings %q", tc.groups, got, r.Warnings)
			}
		})
	}
	o := withHost(bundle.Options{})
	o.Host.UserNamespace, o.Host.SetgroupsDenied, o.Host.GIDMappings, o.Host.UIDMappings = true, true, ids(1), ids(1)
	r := spec(t, `{"config":{"Cmd":["a"]}}`, o)
	if r.Spec.Process.User.AdditionalGids != nil || r.Spec.Linux.Resources != nil || len(r.Spec.Linux.UIDMappings) > 0 {
		t.Errorf("in the caller's own user namespace: %+v", r.Spec.Linux)
	}
}

func TestNames(t *testing.T) {
	long := strings.Repeat("n", 70)
	for _, tc := range []struct {
		o    bundle.Options
		want string
	}{
		{bundle.Options{}, "byhand"},
		{bundle.Options{Name: "n"}, "n"},
		{bundle.Options{Name: long}, long[:64]},
		{bundle.Options{Name: "n", Hostname: "h"}, "h"},
	} {
		if got := spec(t, `{"config":{"Cmd":["a"]}}`, tc.o).Spec.Hostname; got != tc.want {
			t.Errorf("%+v: expected %q, found %q", tc.o, tc.want, got)
		}
	}
}

// TestHostileRoot has root filesystems that no runtime should get to see.
func TestHostileRoot(t *testing.T) {
	link := func(to string) *fstest.MapFile {
		return &fstest.MapFile{Mode: fs.ModeSymlink | 0o777, Data: []byte(to)}
	}
	for name, tc := range map[string]struct {
		root   fstest.MapFS
		config string
		at     string
	}{
		"proc is a link":         {fstest.MapFS{"proc": link("/etc")}, `{}`, "/proc"},
		"dev is a link":          {fstest.MapFS{"dev": link("tmp"), "tmp": {Mode: fs.ModeDir}}, `{}`, "/dev"},
		"sys is a file":          {fstest.MapFS{"sys": {}}, `{}`, "/sys"},
		"passwd is a FIFO":       {fstest.MapFS{"etc/passwd": {Mode: fs.ModeNamedPipe}}, `{}`, "/etc/passwd"},
		"group is a device":      {fstest.MapFS{"etc/group": {Mode: fs.ModeDevice | fs.ModeCharDevice}}, `{}`, "/etc/group"},
		"passwd is a directory":  {fstest.MapFS{"etc/passwd/x": {}}, `{}`, "/etc/passwd"},
		"passwd is a loop":       {fstest.MapFS{"etc/passwd": link("passwd")}, `{}`, "/etc/passwd"},
		"passwd is huge":         {fstest.MapFS{"etc/passwd": {Data: make([]byte, 10<<20+1)}}, `{}`, "/etc/passwd"},
		"cwd is a file":          {fstest.MapFS{"w": {}}, `{"WorkingDir":"/w"}`, "/w"},
		"volume is a file":       {fstest.MapFS{"v": {}}, `{"Volumes":{"/v":{}}}`, "/v"},
		"volume leads to a file": {fstest.MapFS{"v": link("../../f"), "f": {}}, `{"Volumes":{"/v":{}}}`, "/v"},
		"volume leads to /":      {fstest.MapFS{"v": link("/v2"), "v2": link("../..")}, `{"Volumes":{"/v":{}}}`, "/v"},
	} {
		t.Run(name, func(t *testing.T) {
			config := `{"config":` + strings.Replace(tc.config, "{", `{"Cmd":["a"],`, 1) + `}`
			_, err := bundle.Spec([]byte(strings.Replace(config, ",}", "}", 1)), tc.root, bundle.Options{Host: testHost()})
			var re *bundle.RootError
			if !errors.As(err, &re) || re.Path != tc.at {
				t.Errorf("expected a RootError at %s, found %v", tc.at, err)
			}
		})
	}
}

func TestVolumesOfTheImage(t *testing.T) {
	root := testRoot()
	root["link"] = &fstest.MapFile{Mode: fs.ModeSymlink, Data: []byte("/sys/fs")}
	root["sys/fs"] = &fstest.MapFile{Mode: fs.ModeDir}
	config := `{"config":{"Cmd":["a"],"Volumes":{"/proc":{},"/dev/x":{},"/sys/fs/cgroup":{},"/link":{},"/devices":{},"b/":{},"/data":{}}}}`
	r, err := bundle.Spec([]byte(config), root, bundle.Options{Host: testHost(), Volumes: []string{"/:/data"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []bundle.Volume{{Source: "volumes/0", Destination: "/devices"}, {Source: "volumes/1", Destination: "/b"}}
	if diff := cmp.Diff(want, r.Volumes); diff != "" {
		t.Errorf("volumes (-want +got):\n%s", diff)
	}
	if len(r.Warnings) != 4 {
		t.Errorf("warnings %q", r.Warnings)
	}
	last := r.Spec.Mounts[len(r.Spec.Mounts)-1]
	if last.Source != "/" || last.Destination != "/data" {
		t.Errorf("the caller's mount is not there: %+v", last)
	}
}

// TestMountsOverBase has the caller mount over what every container has.
func TestMountsOverBase(t *testing.T) {
	r := spec(t, `{"config":{"Cmd":["a"]}}`, bundle.Options{Volumes: []string{"/:/dev", "/:/etc/hosts"}, Network: bundle.NetworkHost})
	var got []string
	for _, m := range r.Spec.Mounts {
		got = append(got, m.Destination+" "+m.Source)
	}
	want := []string{"/proc proc", "/sys sysfs", "/sys/fs/cgroup cgroup", "/dev /", "/etc/resolv.conf /run/resolv.conf", "/etc/hosts /"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
}

func TestDeterministic(t *testing.T) {
	config, err := os.ReadFile("testdata/everything/image.json")
	if err != nil {
		t.Fatal(err)
	}
	first := written(t, spec(t, string(config), bundle.Options{}))
	for range 20 {
		if diff := cmp.Diff(string(first), string(written(t, spec(t, string(config), bundle.Options{})))); diff != "" {
			t.Fatalf("config.json changes:\n%s", diff)
		}
	}
}

// TestOrigins shows that every part of a spec is accounted for.
func TestOrigins(t *testing.T) {
	config, err := os.ReadFile("testdata/everything/image.json")
	if err != nil {
		t.Fatal(err)
	}
	r := spec(t, string(config), bundle.Options{Domainname: "d"})
	var doc map[string]map[string]any
	data := written(t, r)
	_ = json.Unmarshal(data, &doc) // the members that are no objects stay out
	for _, section := range []string{"process", "linux"} {
		if len(doc[section]) < 5 {
			t.Fatalf("%s is %v", section, doc[section])
		}
		for key := range doc[section] {
			if !slices.ContainsFunc(r.Origins, func(o bundle.Origin) bool {
				return o.Field == section+"."+key || strings.HasPrefix(o.Field, section+"."+key+".")
			}) {
				t.Errorf("%s.%s has no origin", section, key)
			}
		}
	}
}

// FuzzConfig checks what must hold for every image that is taken, whatever it
// says. The arguments are compared with what a plain map has.
func FuzzConfig(f *testing.F) {
	for _, name := range []string{"everything", "docker", "case", "volumes"} {
		data, err := os.ReadFile("testdata/" + name + "/image.json")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"config":{"Cmd":["a"],"Healthcheck":{"Interval":1e999}}}`))
	host := testHost()
	f.Fuzz(func(t *testing.T, config []byte) {
		r, err := bundle.Spec(config, testRoot(), bundle.Options{Host: host, NoSeccomp: true})
		if err != nil {
			return
		}
		s := r.Spec
		var doc struct{ m map[string]any }
		dec := json.NewDecoder(bytes.NewReader(config))
		dec.UseNumber() // one that fits no type is still JSON
		if err := dec.Decode(&doc.m); err != nil {
			t.Fatalf("took what is no JSON object: %v", err)
		}
		inner, _ := doc.m["config"].(map[string]any)
		want := append(stringsOf(inner["Entrypoint"]), stringsOf(inner["Cmd"])...)
		if !slices.Equal(s.Process.Args, want) || len(want) == 0 {
			t.Errorf("args: expected %q, found %q", want, s.Process.Args)
		}
		checkInvariants(t, s)
	})
}

func stringsOf(v any) []string {
	switch v := v.(type) {
	case string:
		if v != "" {
			return []string{v}
		}
	case []any:
		var list []string
		for _, e := range v {
			s, _ := e.(string)
			list = append(list, s)
		}
		return list
	}
	return nil
}

func checkInvariants(t *testing.T, s *specs.Spec) {
	t.Helper()
	for _, id := range append(s.Process.User.AdditionalGids, s.Process.User.UID, s.Process.User.GID) {
		if id > math.MaxInt32 {
			t.Errorf("ID %d", id)
		}
	}
	seen := map[string]bool{}
	for _, e := range s.Process.Env {
		name, _, ok := strings.Cut(e, "=")
		if !ok || name == "" || seen[name] || strings.Contains(e, "\x00") {
			t.Errorf("variable %q", e)
		}
		seen[name] = true
	}
	if !path.IsAbs(s.Process.Cwd) {
		t.Errorf("cwd %q", s.Process.Cwd)
	}
	for _, m := range s.Mounts {
		if !path.IsAbs(m.Destination) || path.Clean(m.Destination) != m.Destination || m.Destination == "/" {
			t.Errorf("mount on %q", m.Destination)
		}
		if m.Type == "bind" && !strings.HasPrefix(m.Source, "volumes/") {
			t.Errorf("the image mounts %q of the host", m.Source)
		}
	}
	for key := range s.Annotations {
		if key == "" || key == "bundle" || strings.HasPrefix(key, "run.oci.") {
			t.Errorf("annotation %q", key)
		}
	}
}

// FuzzVolume checks that whatever is taken for a volume is one.
func FuzzVolume(f *testing.F) {
	for _, v := range []string{"/tmp:/a", "/:/a:ro", "/tmp:/a/../b:rw", ".:/x", "/tmp:/", "/tmp::", "a:b", "/tmp:/a:ro,z"} {
		f.Add(v)
	}
	host := testHost()
	f.Fuzz(func(t *testing.T, v string) {
		r, err := bundle.Spec([]byte(`{"config":{"Cmd":["a"]}}`), nil, bundle.Options{Volumes: []string{v}, Host: host, NoSeccomp: true})
		if err != nil {
			var oe *bundle.OptionError
			if !errors.As(err, &oe) || oe.Option != "volume" {
				t.Errorf("%q: expected an OptionError, found %v", v, err)
			}
			return
		}
		i := slices.IndexFunc(r.Spec.Mounts, func(m specs.Mount) bool { return m.Type == "bind" })
		if i < 0 {
			t.Fatalf("%q gives no mount", v)
		}
		m, part := r.Spec.Mounts[i], strings.Split(v, ":")
		if m.Destination == "/" || path.Clean(m.Destination) != m.Destination || !path.IsAbs(m.Destination) || !path.IsAbs(m.Source) {
			t.Errorf("%q gives %+v", v, m)
		}
		if ro := len(part) == 3 && part[2] == "ro"; slices.Contains(m.Options, "rro") != ro || len(part) > 3 {
			t.Errorf("%q gives %+v", v, m)
		}
	})
}
