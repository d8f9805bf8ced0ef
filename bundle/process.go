package bundle

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func (d *draft) process() error {
	args, from, err := command(d.image.Config, d.o)
	if err != nil {
		return err
	}
	p := d.spec.Process
	p.Args = args
	d.from("process.args", from)
	d.from("process.terminal", "--tty")
	d.from("process.noNewPrivileges", "--no-new-privileges")
	p.Terminal = d.o.Terminal
	if d.o.Terminal {
		p.ConsoleSize = d.o.ConsoleSize
	}
	p.NoNewPrivileges = d.o.NoNewPrivileges
	d.workdir()
	d.environment()
	return nil
}

// command joins entrypoint and arguments as docker run does: an entrypoint of
// the caller's drops the image's Cmd, which was meant for the other one.
func command(image imageProcess, o Options) (args []string, from string, err error) {
	entry, rest := entrypoint(image, o), image.Cmd
	from = "image config.Entrypoint, config.Cmd"
	if o.Entrypoint != nil {
		rest, from = nil, "--entrypoint"
	}
	if o.Args != nil {
		rest = o.Args
		from = strings.Replace(from, "config.Cmd", "arguments", 1)
	}
	args = append(append(args, entry...), rest...)
	if len(args) == 0 {
		return nil, "", &CommandError{Cleared: o.Entrypoint != nil && len(image.Entrypoint)+len(image.Cmd) > 0}
	}
	return args, from, nil
}

// entrypoint is what a command line begins with. One empty word is none, the
// caller's and the image's: ENTRYPOINT [""] is how a Dockerfile takes back the one
// of the image that it builds on.
func entrypoint(image imageProcess, o Options) []string {
	words := image.Entrypoint
	if o.Entrypoint != nil {
		words = *o.Entrypoint
	}
	if len(words) == 1 && words[0] == "" {
		return nil
	}
	return words
}

// Entrypoint returns what process.args of the image with the raw config begins
// with before its arguments, for [Image].
func Entrypoint(config []byte, o Options) ([]string, error) {
	image, err := parseConfig(config)
	if err != nil {
		return nil, err
	}
	return entrypoint(image.Config, o), nil
}

func (d *draft) workdir() {
	cwd, from := d.image.Config.WorkingDir, "image config.WorkingDir"
	if d.o.Workdir != "" {
		cwd, from = d.o.Workdir, "--workdir"
	}
	if !strings.HasPrefix(cwd, "/") {
		cwd = "/" + cwd // runtimes refuse a relative one
	}
	d.spec.Process.Cwd = cwd
	d.from("process.cwd", from)
}

// environment joins the image's variables, the caller's and the defaults
// (image-spec conversion.md, "Config.Env").
func (d *draft) environment() {
	var env environ
	for _, e := range d.image.Config.Env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" {
			d.warn("variable of the image left out, because it is not NAME=VALUE: " + quoteShort(e))
			continue
		}
		env.set(e, "image config.Env")
	}
	for _, e := range d.o.Env {
		if name, _, ok := strings.Cut(e, "="); ok {
			env.set(e, fromEnvFlag)
		} else {
			env.unset(name)
		}
	}
	env.setDefault(defaultPath, "default: the image sets none", false)
	if d.o.Terminal {
		env.setDefault(defaultTerm, "default: a terminal has one", false)
	}
	// A shell without HOME finds no configuration, and runtimes disagree
	// about whom they give one.
	env.setDefault("HOME="+d.id.Home, "default: of the user, in the image's /etc/passwd", true)
	d.spec.Process.Env = env.entries()
	d.from("process.env", "image config.Env, --env, PATH and HOME if missing")
	for i, e := range env.list {
		if name, _, _ := strings.Cut(e, "="); e != "" {
			d.from("process.env["+name+"]", env.from[i])
		}
	}
}

// fromEnvFlag is the origin of variables that the caller gave.
const fromEnvFlag = "--env"

// environ is a list of NAME=VALUE in which a name occurs once. An empty entry
// is one that was taken out.
type environ struct {
	list  []string
	from  []string       // where each comes from
	index map[string]int // of each name; an image may bring hundreds of thousands
}

func (e *environ) set(entry, from string) {
	name, _, _ := strings.Cut(entry, "=")
	if i, ok := e.index[name]; ok {
		e.list[i], e.from[i] = entry, from
		return
	}
	if e.index == nil {
		e.index = map[string]int{}
	}
	e.index[name] = len(e.list)
	e.list, e.from = append(e.list, entry), append(e.from, from)
}

func (e *environ) unset(name string) {
	if i, ok := e.index[name]; ok {
		e.list[i] = ""
		delete(e.index, name)
	}
}

func (e *environ) entries() []string {
	return slices.DeleteFunc(slices.Clone(e.list), func(s string) bool { return s == "" })
}

// setDefault adds entry if its name is missing, or empty where that counts.
func (e *environ) setDefault(entry, from string, replaceEmpty bool) {
	name, _, _ := strings.Cut(entry, "=")
	if i, ok := e.index[name]; !ok || replaceEmpty && e.list[i] == name+"=" {
		e.set(entry, from)
	}
}

func (d *draft) user() error {
	spec, from := d.image.Config.User, "image config.User"
	if d.o.User != "" {
		spec, from = d.o.User, "--user"
	}
	users, err := loadUsers(d.root)
	if err != nil {
		return err
	}
	if d.id, err = users.lookup(spec); err != nil {
		return err
	}
	u := specs.User{UID: d.id.UID, GID: d.id.GID}
	u.AdditionalGids = d.supplementary()
	d.spec.Process.User = u
	d.from("process.user", from+", looked up in the image's /etc/passwd and /etc/group")
	return nil
}

// supplementary lists the groups that can be given. The primary group is among
// them, else a program that changes its group escapes files that refuse that
// group. Groups that root lost are not worth a word: none keeps it out.
func (d *draft) supplementary() []uint32 {
	var list []uint32
	lost, why := 0, "the user namespace does not have them"
	switch have := d.gidMappings(); {
	case d.setgroupsDenied():
		lost, why = len(d.id.Groups), "a runtime that makes the user namespace itself cannot set them; byhand run IMAGE can"
	default:
		list = []uint32{d.id.GID}
		for _, gid := range d.id.Groups {
			if len(have) > 0 && !mapped(have, gid) {
				lost++
				continue
			}
			list = append(list, gid)
		}
	}
	if lost > 0 && d.id.UID != 0 {
		d.warn(fmt.Sprintf("supplementary groups of the user left out (%d): %s", lost, why))
	}
	return list
}
