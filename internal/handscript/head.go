package handscript

import (
	"fmt"
	"slices"
	"strings"

	"github.com/byhand/byhand/pull"
)

// head writes everything above the functions.
func (w *writer) head() {
	ref := w.Image.Reference.String()
	w.raw("#!/bin/sh\n")
	w.remark("%s, unpacked by hand.", ref)
	w.raw("#\n")
	w.remark("Does with curl, jq, sha256sum, tar and mount what \"byhand pull-and-unpack\" does: makes of the image an OCI runtime bundle, " +
		"the directory that \"runc run\" starts. It was written by \"byhand script\" for this one image: every digest is in it, and " +
		"at the first that does not match it ends with status 3. It needs GNU tar and GNU coreutils; any POSIX shell runs it.")
	w.raw("#\n")
	w.remark("usage: sh THIS-FILE%s", map[bool]string{true: "", false: " (as root: it mounts, and makes files of other owners)"}[w.flat()])
	if w.flat() {
		w.remark("As an ordinary user all files will be the user's own, and devices are left out.")
	}
	if w.Image.Reference.Transport == pull.Registry {
		w.remark("A login, if the registry wants one: REGISTRY_USER and REGISTRY_PASSWORD in the environment, or a line in ~/.netrc for " +
			"the host that it sends to for tokens.")
	}
	w.raw("#\n")
	w.remark("Statuses: 0 done, 3 something is not what its digest says, 4 not found, 5 no login, 6 registry unreachable, 7 not unpacked, 1 any other failure.")
	w.raw("# shellcheck disable=SC1003,SC2016 # names of an image may hold $ and \\; they mean what they say\n")
	w.raw("set -eu\numask 022\nunset CDPATH\nexport LC_ALL=C # names are bytes\n\n")
	w.set("dir", relative(w.Dir))
	w.raw("tmp=\nmounted=\ncreated=\n")
	switch w.Image.Reference.Transport {
	case pull.Registry:
		w.sourceVariables()
		w.set("repository", w.Image.Reference.Repository)
		w.raw("user=${REGISTRY_USER-}\nsecret=${REGISTRY_PASSWORD-}\nunset REGISTRY_USER REGISTRY_PASSWORD # not for the programs that are called\n")
		w.raw("login_help='set REGISTRY_USER and REGISTRY_PASSWORD, or have a line for the host in ~/.netrc'\n")
	case pull.OCI:
		w.set("layout", absolute(w.Image.Reference.Path))
	default:
		w.set("archive", absolute(w.Image.Reference.Path))
	}
	w.raw("if [ \"$(id -u)\" -eq 0 ]; then owners=--same-owner; else owners=--no-same-owner; fi\n")
}

// prepare writes what comes before anything of the image is there.
func (w *writer) prepare() {
	tools := []string{"jq", "sha256sum", "tar", "cp", "ln", "dd", "find", "setfattr", "mknod", "chown", "chmod", "touch", "truncate"}
	if w.Image.Reference.Transport == pull.Registry {
		tools = append([]string{"curl"}, tools...)
	}
	if !w.flat() {
		tools = append(tools, "mount")
	}
	for _, p := range w.plans {
		if p.compression != "" && !slices.Contains(tools, p.compression) {
			tools = append(tools, p.compression)
		}
	}
	w.note("What it takes.")
	w.raw("need " + strings.Join(tools, " ") + "\n")
	w.raw("for tool in tar touch cp dd; do\n" +
		"\t\"$tool\" --version 2>/dev/null | grep -q GNU || die 1 \"$tool is not GNU's, whose options this needs\"\ndone\n")
	if !w.flat() {
		w.raw("[ \"$(id -u)\" -eq 0 ] || die 1 'only root may mount; run this as root, or make a script with --rootfs flat'\n")
	}
	w.note("The bundle directory. All that follows happens inside of it.")
	w.raw(`if [ ! -e "$dir" ]; then
	mkdir -p "$(dirname "$dir")"
	mkdir -m 700 "$dir" # set-user-ID programs of the image are for nobody else
	created=yes
fi
cd "$dir"
[ -z "$(ls -A)" ] || die 1 "$dir is not empty; name another directory"
[ -n "$(find . -prune -user "$(id -u)" \( ! -perm -002 -o -perm -1000 \))" ] || # links would lead elsewhere
	die 1 "$dir is not yours alone, so others could change what is written where; name another directory"
here=$(pwd -P && echo .) # the dot keeps a newline at the end of a name
here=${here%??}
if [ -n "$created" ]; then created=$here; fi
tmp=$(mktemp -d "$here/.byhand-script.XXXXXX")
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP
`)
	if w.flat() {
		w.raw("mkdir lower rootfs\nchmod 700 lower\n")
		return
	}
	w.raw("mkdir -m 700 lower upper work # nor are those of lower layers\nmkdir rootfs\n")
}

// short writes a size for people.
func short(n int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{1e9, "GB"}, {1e6, "MB"}, {1e3, "kB"}} {
		if n >= u.size {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.size), u.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}
