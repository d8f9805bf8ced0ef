# shellcheck shell=sh
# What the checks share. A check looks at one thing after the other and stops
# at the first that is wrong, with a hint.

image=$LAB/image
case $(uname -m) in
x86_64) arch=amd64 ;;
aarch64) arch=arm64 ;;
*) arch=$(uname -m) ;;
esac

ok() { say "ok   $*"; }

# no WHAT [HINT] ends the check.
no() {
	say "NO   $1"
	[ -z "${2:-}" ] || say "     Hint: $2"
	exit 1
}

# file NAME [HINT] wants a file that holds something.
file() {
	[ -e "$1" ] || no "$LAB/${PWD##*/}/$1 is missing" "${2:-${page:-the page} says what goes into it}"
	[ -s "$1" ] || no "$1 is empty" "${2:-${page:-the page} says what goes into it}"
}

# fetched NAME [HINT] wants a file from the registry, and no refusal.
fetched() {
	[ ! -e "$1" ] || [ -s "$1" ] ||
		no "$1 is empty" "after five minutes, and after scripts/lab restart, a new token is needed"
	file "$1" "${2:-}"
	! head -c 200 "$1" | grep -q '"errors"' ||
		no "$1 holds what the registry said instead: $(head -c 200 "$1")" "a token lives five minutes: get a new one, and fetch again"
}

# same WHAT EXPECTED FOUND [HINT]
same() {
	[ "$2" = "$3" ] || no "$1: expected ${2:-nothing}, found ${3:-nothing}" "${4:-}"
	ok "$1"
}

# asked WHAT FOUND EXPECTED [HINT] checks an answer without giving it away.
asked() {
	[ "$2" = "$3" ] || no "$1: $2 is not it" "${4:-}"
	ok "$1"
}

digest() { sha256sum <"$1" | sed 's/^/sha256:/; s/ .*//'; }

# blob DIGEST is its file in the layout.
blob() { printf '%s/blobs/sha256/%s' "$image" "${1#sha256:}"; }

# The truth, from the layout itself.
true_index() {
	jq -r '[.manifests[] | select(.annotations["org.opencontainers.image.ref.name"] == "v1")][0].digest' "$image/index.json"
}
true_manifest() {
	jq -r --arg arch "$arch" '[.manifests[] | select(.platform.architecture == $arch)][0].digest' "$(blob "$(true_index)")"
}
true_config() { jq -r .config.digest "$(blob "$(true_manifest)")"; }
true_layers() { jq -r '.layers[].digest' "$(blob "$(true_manifest)")"; }
true_diffs() { jq -r '.rootfs.diff_ids[]' "$(blob "$(true_config)")"; }
true_chains() {
	chain=
	true_diffs | while read -r diff; do
		if [ -z "$chain" ]; then chain=$diff; else
			chain=sha256:$(printf '%s %s' "$chain" "$diff" | sha256sum | cut -d ' ' -f 1)
		fi
		say "$chain"
	done
}
