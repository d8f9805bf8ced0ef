# shellcheck shell=sh
# What the scripts share; sourced, not run. Plain POSIX, since the demo runs
# where there is no bash.

# byhand_tools is where tools that no distribution has in the right version are
# kept, outside the work tree so that a new clone finds them again.
byhand_tools=${BYHAND_TOOLS:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/byhand-tools}
# Debian keeps runc in /usr/sbin, which is not on every user's PATH.
PATH=$byhand_tools/bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH

say() { printf '%s\n' "$*"; }
warn() { printf '%s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" = 0 ]; }

# need_go stops with a remedy unless a go command is there. An older go fetches
# the toolchain that go.mod names by itself.
need_go() {
	if ! have go && [ -x /usr/local/go/bin/go ]; then
		PATH=$PATH:/usr/local/go/bin
	fi
	if ! have go; then
		warn "${0##*/}: Go is not installed. Install Go 1.26 or later from https://go.dev/dl/ and run this again."
		exit 1
	fi
}

# retry runs a command that needs the network up to three times.
retry() {
	"$@" && return
	sleep 5
	"$@" && return
	sleep 20
	"$@"
}

# apt_update waits for another apt, such as the one that a new machine runs by
# itself. A repository that this project does not use may be out of reach: what
# the others said may do.
apt_update() {
	for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		apt_said=$(apt-get update -qq -o Acquire::Retries=3 2>&1) && return
		case $apt_said in *lock*) sleep 10 ;; *) break ;; esac
	done
	warn "$apt_said"
	warn "apt-get update: not everything was reached; going on"
}

# apt_install installs Debian packages without starting any service of theirs:
# docker-registry and nginx would otherwise sit on ports of this machine.
apt_install() (
	policy=/usr/sbin/policy-rc.d
	if [ ! -e "$policy" ]; then
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 755 "$policy"
		trap 'rm -f "$policy"' EXIT
	fi
	export DEBIAN_FRONTEND=noninteractive
	apt_update
	# Nothing may go for it: where Docker's own packages are, Debian's runc and
	# containerd would replace them.
	apt-get install -qqy --no-install-recommends --no-remove -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 \
		-o Acquire::Retries=3 "$@" >&2
)
