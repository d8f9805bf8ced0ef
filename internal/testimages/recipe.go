package testimages

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// Recipe is what an image is made of.
type Recipe struct {
	// Name is part of the cache's file names.
	Name string
	// Suite of Debian; empty is bookworm.
	Suite string
	// Include are packages of the first layer, beside apt and what it needs.
	Include []string
	// Steps each make one layer on top.
	Steps []Step
	// User, Env and Cmd are the image config's.
	User     string
	Env, Cmd []string
}

// Step makes a layer by running a shell script, as root, in a chroot of what
// the steps before it left.
type Step struct {
	Name   string
	Script string
	// Zstd compresses the layer with zstd instead of gzip.
	Zstd bool
}

const defaultSuite = "bookworm"

// version is part of the key, to be raised when the way images are made
// changes.
const version = 2

// key identifies what a recipe makes.
func (r Recipe) key() string {
	raw, err := json.Marshal(struct {
		Version int
		Recipe  Recipe
	}{version, r})
	if err != nil {
		panic(err) // strings and bools always marshal
	}
	sum := sha256.Sum256(raw)
	return r.Name + "-" + hex.EncodeToString(sum[:8])
}

// install is the start of a script that installs packages.
const install = `export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -qy --no-install-recommends `

// clean ends it: the package lists are no part of the image.
const clean = "\napt-get clean\nrm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin\n"

// Debian is a small image of five layers with one of everything that packages
// and administrators do to a root filesystem.
func Debian() Recipe {
	return Recipe{
		Name: "debian",
		Env:  []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"},
		Cmd:  []string{"/bin/bash"}, User: "app:shared",
		Steps: []Step{
			{Name: "packages, one with a file capability", Script: install + "iputils-ping less nano attr libcap2-bin" + clean},
			{Name: "a package and directories removed", Script: `
apt-get purge -qy nano
rm -rf /usr/share/doc /usr/share/locale
mkdir /usr/share/doc
echo 'replaced' > /usr/share/doc/README
`},
			{Name: "every kind of change", Script: everyKind},
			{Name: "a user", Script: `
groupadd --gid 2000 shared
useradd --uid 1500 --create-home --groups shared app
mkdir -m 2775 /srv/app
chown app:shared /srv/app
echo data > /srv/app/data
chown app:shared /srv/app/data
`},
		},
	}
}

// everyKind replaces things by things of other types, links across old and
// new, and changes nothing but attributes.
const everyKind = `
mkdir -p /srv/kinds/sub
cd /srv/kinds
rm -rf /opt && ln -s srv/kinds /opt
rm /etc/issue && mkdir /etc/issue && echo text > /etc/issue/text
rm -r /usr/share/bug && echo 'was a directory' > /usr/share/bug
rm -rf /media && mkdir /media && echo new > /media/new
echo one > hard1; ln hard1 hard2; ln hard2 sub/hard3
ln -s hard1 soft; ln soft hardsoft; ln -s /nowhere dangling; ln -s ../../../../../../etc/passwd climbing
mkfifo -m 622 fifo
mknod null c 1 3
truncate -s 8M sparse; printf end >> sparse
setfattr -n user.comment -v 'an attribute' hard1
setcap cap_net_bind_service+ep /usr/bin/less
chmod 4711 /usr/bin/ls; chmod 1777 /srv; chown 12345:54321 /etc/motd 2>/dev/null || :
touch -d '1969-07-20 20:17:40.123456789 UTC' before-1970
touch -d '2106-02-07 06:28:16.5 UTC' far-ahead
printf x > "$(printf 'bytes \377\001\n end')"
printf x > "$(head -c 250 /dev/zero | tr '\0' n)"
long=/srv/kinds/long
i=0; while [ $i -lt 12 ]; do long=$long/$(head -c 200 /dev/zero | tr '\0' d); i=$((i+1)); done
mkdir -p "$long"; echo deep > "$long/file"
chmod 0555 sub; chmod 0000 hard2
`

// Five is the benchmark's realistic image: a distribution, an interpreter, a
// compiler, a runtime, and a layer that takes things away.
func Five() Recipe {
	return Recipe{
		Name: "five",
		Cmd:  []string{"/bin/bash"},
		Steps: []Step{
			{Name: "python", Script: install + "python3 python3-pip python3-numpy python3-scipy perl git" + clean},
			{Name: "toolchain", Script: install + "build-essential gfortran clang cmake" + clean},
			{Name: "whiteouts", Script: "rm -rf /usr/share/doc /usr/share/man /usr/share/locale /usr/share/info\n"},
			{Name: "node", Script: install + "nodejs npm" + clean},
		},
	}
}

// Large is the benchmark's image of one large layer.
func Large() Recipe {
	return Recipe{
		Name: "large", Cmd: []string{"/bin/bash"},
		Include: []string{"build-essential", "clang", "python3", "perl", "git"},
	}
}

// Base is a distribution's base image of one layer, about 60 MB packed.
func Base() Recipe { return Recipe{Name: "base", Cmd: []string{"/bin/sh"}} }

// Many is the benchmark's image of 100,000 small files.
func Many() Recipe {
	return Recipe{
		Name: "many", Cmd: []string{"/bin/bash"},
		Steps: []Step{{Name: "100,000 files", Script: `
perl -e 'for $d (0..999) { mkdir sprintf("/srv/%03d", $d) or die; for $f (0..99) {
	open F, ">", sprintf("/srv/%03d/%02d", $d, $f) or die; print F "file $f of $d\n" x ($f % 40); close F; } }'
`}},
	}
}
