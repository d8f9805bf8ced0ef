package peers_test

import (
	_ "embed"
	"os"
	"os/exec"
	"testing"

	"github.com/byhand/byhand/internal/testtar"
)

// factScript prints what a container sees of itself.
//
//go:embed facts.sh
var factScript string

// engineImage is an image that two engines start.
type engineImage struct {
	process map[string]any
	extra   []testtar.Entry // over the base
	bare    bool            // without a user database
}

const (
	enginePasswd = "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\nother:x:70:70::/:/bin/sh\n"
	engineGroup  = "root:x:0:\napp:x:1001:\nwheel:x:10:root,app\nstaff:x:50:app\n"
)

// engineImages differ in what an engine makes of their config.
func engineImages() map[string]engineImage {
	facts := []string{"/bin/sh", "/facts"}
	none := map[string]any{}
	owner := testtar.Owner(1000, 50)
	return map[string]engineImage{
		"plain": {process: map[string]any{"Cmd": facts}},
		"user by name": {
			process: map[string]any{"Cmd": facts, "User": "app", "WorkingDir": "/home/app"},
			extra:   []testtar.Entry{testtar.Dir("home/app", testtar.Owner(1000, 1001))},
		},
		"user by number":       {process: map[string]any{"Cmd": facts, "User": "1000", "Env": []string{"LANG=C"}}},
		"user and group":       {process: map[string]any{"Cmd": facts, "User": "app:staff"}},
		"numbers without file": {process: map[string]any{"Cmd": facts, "User": "4321:987"}, bare: true},
		"unknown number":       {process: map[string]any{"Cmd": facts, "User": "4321", "Env": []string{"HOME="}}},
		"entrypoint and labels": {process: map[string]any{
			"Entrypoint": []string{"/bin/sh"}, "Cmd": []string{"/facts", "a b"}, "Labels": map[string]string{"a": "b"},
			"StopSignal": "SIGQUIT", "ExposedPorts": map[string]any{"80/tcp": none}, "WorkingDir": "/made/up",
		}},
		"relative workdir": {process: map[string]any{"Entrypoint": facts, "WorkingDir": "rel/dir"}},
		"odd environment": {process: map[string]any{"Cmd": facts, "Env": []string{
			"PATH=/bin", "HOME=/nowhere", "TERM=dumb", "EMPTY=", "EQ=a=b=", "SPACE= a  b ", "LINE=a\nb", "UTF=é", "TWICE=1", "TWICE=2",
		}}},
		"volumes": {
			process: map[string]any{"Cmd": facts, "User": "app", "Volumes": map[string]any{"/data": none, "/other": none}},
			extra: []testtar.Entry{
				testtar.Dir("data", owner, testtar.Mode(0o2750)), testtar.Dir("data/in", owner, testtar.Mode(0o700)),
				testtar.File("data/in/f", "content\n", owner, testtar.Mode(0o640)), testtar.Symlink("data/way", "in/f"),
			},
		},
	}
}

// tars are the image's layers: a busybox, and what is its own.
func (i engineImage) tars(t *testing.T) [][]byte {
	t.Helper()
	path, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	base := []testtar.Entry{
		testtar.Dir("bin"), testtar.Dir("etc"), testtar.Dir("proc"), testtar.Dir("sys"), testtar.Dir("dev"), testtar.Dir("run"),
		testtar.Dir("tmp", testtar.Mode(0o1777)), testtar.File("facts", factScript),
		testtar.File("bin/busybox", string(program), testtar.Mode(0o755)),
	}
	for _, applet := range []string{
		"cat", "find", "grep", "head", "hostname", "id", "ls", "readlink", "rm", "sed", "sh", "sort", "stat", "tr", "wc",
	} {
		base = append(base, testtar.Symlink("bin/"+applet, "busybox"))
	}
	if !i.bare {
		base = append(base, testtar.File("etc/passwd", enginePasswd), testtar.File("etc/group", engineGroup))
	}
	layers := [][]testtar.Entry{base}
	if i.extra != nil {
		layers = append(layers, i.extra)
	}
	return plain(layers)
}
