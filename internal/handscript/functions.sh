# say TEXT: progress, for people.
say() {
	printf '%s\n' "$*" >&2
}

# die CODE TEXT: the end, with one line that says why.
die() {
	code=$1
	shift
	printf 'by hand: %s\n' "$*" >&2
	exit "$code"
}

# need TOOL...: all of them, or nothing is begun. They are the programs on PATH:
# a shell such as busybox has smaller ones of the same names in itself.
need() {
	missing=
	for tool in "$@"; do
		found=
		IFS=:
		for place in $PATH; do
			if [ -z "$found" ] && [ -f "$place/$tool" ] && [ -x "$place/$tool" ]; then found=$place/$tool; fi
		done
		unset IFS
		if [ -n "$found" ]; then
			eval "path_$tool=\$found; $tool() { \"\$path_$tool\" \"\$@\"; }"
		else
			missing="$missing $tool"
		fi
	done
	[ -z "$missing" ] || die 1 "missing on this machine:$missing"
}

# discard FILE...: deletes whole trees, also those of read-only directories,
# which an ordinary user could not empty.
discard() {
	find "$@" -xdev -type d ! -perm -700 -exec chmod u+rwx {} \; 2>/dev/null || :
	rm -rf "$@"
}

# finish: on the way out, however it comes. What is not whole does not stay.
finish() {
	code=$?
	trap - EXIT
	rm -rf "$tmp"
	if [ "$code" -ne 0 ]; then
		# Interrupted while it was being mounted, it may be or not.
		if [ "$mounted" = maybe ]; then umount rootfs 2>/dev/null || :; fi
		if [ "$mounted" = yes ] && ! umount rootfs; then
			die "$code" "$dir/rootfs is still mounted; umount it, then delete $dir"
		fi
		discard lower upper work rootfs volumes image.json config.json
		if [ -n "$created" ]; then rmdir "$created"; fi
		say "$dir: nothing is left of what was begun"
	fi
	exit "$code"
}

# trust FILE AUTHORITIES...: puts these and the system's into FILE.
trust() {
	to=$1
	shift
	for system in "${SSL_CERT_FILE-}" /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
		if [ -f "$system" ]; then
			cat "$system"
			break
		fi
	done >"$to"
	cat "$@" >>"$to"
}

# verify WHAT FILE DIGEST [SIZE]: goes on only if the file's digest is DIGEST.
verify() {
	found=$("${3%%:*}sum" <"$2")
	if [ "${found%% *}" != "${3#*:}" ]; then
		die 3 "$1: expected $3${4:+ ($4 bytes)}, found ${3%%:*}:${found%% *} ($(($(wc -c <"$2"))) bytes)"
	fi
	say "$1: $3 matches"
}

# expect WHAT WANTED FOUND: the same, for what a verified document says.
expect() {
	[ "$2" = "$3" ] || die 3 "$1: expected $2, found $3"
}

# request PATH FILE SIZE ACCEPT: one GET. Prints the status, how many redirects
# were followed, and where a further one leads. Far more than SIZE bytes are not
# waited for.
request() {
	net "$follow" --max-redirs 10 --config "$auth" --header "Accept: $4" \
		--max-filesize "$(($3 + 1048576))" --dump-header "$tmp/headers" --output "$2" \
		--write-out '%{http_code} %{num_redirects} %{redirect_url}' "$registry/$repository/$1$query" || {
		code=$?
		[ "$code" -ne 63 ] || die 3 "$1: expected $3 bytes, found far more"
		die 6 "get $registry/$repository/$1: curl ended with status $code"
	}
}

#if certificates
# onward ADDRESS FILE SIZE: follows a redirect to a host that gets to see neither
# the login nor the certificate of the one that sent there.
onward() {
	own=
	net --location --max-redirs 9 --max-filesize "$(($3 + 1048576))" \
		--output "$2" --write-out '%{http_code} 1 ' "$1" || die 6 "get $1: curl ended with status $?"
}
#end

# answer PATH FILE SIZE ACCEPT: a request, with a login if one is asked for
# (distribution-spec, "Pull"). Leaves the status.
answer() {
	status=$(request "$@") || exit
	case $status in
	'401 0 '*)
		login
		status=$(request "$@") || exit
		;;
	esac
#if certificates
	case $status in
	30[12378]' 0 http'*) status=$(onward "${status#* * }" "$2" "$3") || exit ;;
	esac
#end
	status=${status%% *}
}

#if mirrors
# mirrored WHAT PATH FILE SIZE ACCEPT: gets one object of a mirror, if it has
# it. One that cannot be reached is not asked again.
mirrored() {
	if ! (
		trap - EXIT
		answer "$2" "$3" "$4" "$5"
		[ "$status" = 200 ] || die 4 "$1: $registry answered with status $status"
	); then
		say "$1: asking the next source"
		[ -s "$tmp/headers" ] || dead="$dead $source "
		return 1
	fi
	if (verify "$1" "$3" "${2#*/}" "$4") 2>/dev/null; then return 0; fi
	say "$1: what $registry has is something else; asking the next source"
	return 1
}
#end

# fetch WHAT PATH FILE SIZE ACCEPT: gets one object of the repository.
fetch() {
#if mirrors
	for source in $mirrors; do
		case $dead in *" $source "*) continue ;; esac
		use "$source"
		: >"$tmp/headers"
		if mirrored "$@"; then return; fi
	done
	use origin
#end
	answer "$2" "$3" "$4" "$5"
	case $status in
	200) ;;
	401 | 403) die 5 "$1: $registry wants another login (status $status); $login_help" ;;
	404) die 4 "$1: $registry does not have it (any more)" ;;
	*) die 6 "$1: $registry answered with status $status" ;;
	esac
}

# login: answers the challenge of a 401 (RFC 9110, 11.6.1). What it finds goes
# into a file for curl, so that no secret is among the arguments of a program.
login() {
	challenge=$(tr -d '\r' <"$tmp/headers" | sed -n 's/^[Ww][Ww][Ww]-[Aa][Uu][Tt][Hh][Ee][Nn][Tt][Ii][Cc][Aa][Tt][Ee]://p')
	case $challenge in
	*[Bb]earer\ *) token ;;
	*[Bb]asic*) { password && echo netrc-optional; } >"$auth" ;;
	*) die 5 "$registry wants a login of a kind that is unknown here: $(printf '%s' "$challenge" | tr -cd '[:print:]')" ;;
	esac
}

# parameter NAME: its value in the challenge, without what a terminal obeys.
parameter() {
	printf '%s\n' "$challenge" | sed -n "s/.*[ ,]$1=\"\([^\"]*\)\".*/\1/p" | head -n 1 | tr -cd '[:print:]'
}

# password: the login from the environment, as a line for curl.
password() {
#if mirrors
	[ "$source" = origin ] || return 0 # it is for no mirror
#end
	if [ -n "$user" ]; then
		printf 'user = "%s"\n' "$(printf '%s:%s' "$user" "$secret" | sed 's/[\\"]/\\&/g')"
	fi
}

# token: asks the server that the challenge names for a token that is good for
# this repository (distribution, "Token Authentication").
token() {
	realm=$(parameter realm)
	service=$(parameter service)
	case $realm in
	https://*) ;;
	http://*) [ "${registry%%:*}" = http ] || die 5 "$registry sends to $realm for a token, which anybody on the way could read" ;;
	*) die 5 "$registry asks for a token and does not say where to get it" ;;
	esac
	say "token: from $realm for repository:$repository:pull"
#if certificates
	case $realm in "${registry%/v2*}"/*) ;; *) own= ;; esac
#end
	status=$(password | net --config - --netrc-optional --get --data-urlencode "service=$service" \
		--data-urlencode "scope=repository:$repository:pull" \
		--output "$tmp/token" --write-out '%{http_code}' "$realm") || die 6 "get a token of $realm: curl ended with status $?"
#if certificates
	own=yes
#end
	case $status in
	200) ;;
	400 | 401 | 403) die 5 "$realm gives no token (status $status); $login_help" ;;
	*) die 6 "$realm answered with status $status" ;;
	esac
	token=$(jq -r '.token // .access_token // empty' "$tmp/token") || die 5 "$realm did not answer with a token"
	rm -f "$tmp/token"
	case $token in
	'' | *[!A-Za-z0-9._~+/=-]*) die 5 "$realm did not answer with a token" ;;
	esac
	printf 'header = "Authorization: Bearer %s"\n' "$token" >"$auth"
}

# blob WHAT FILE DIGEST SIZE: one blob of the repository, verified.
blob() {
	fetch "$1" "blobs/$3" "$2" "$4" '*/*'
	verify "$1" "$2" "$3" "$4"
}

# stored WHAT FILE DIGEST SIZE: one blob of the image layout, verified.
stored() {
	from=$layout/blobs/${3%%:*}/${3#*:}
	{ [ -f "$from" ] && cp "$from" "$2"; } || die 4 "$1: $layout does not have it"
	verify "$1" "$2" "$3" "$4"
}

# saved WHAT FILE DIGEST SIZE NAME: one file of the archive, verified.
saved() {
	{ [ -f "$layout/$5" ] && cp "$layout/$5" "$2"; } || die 4 "$1: the archive does not have it"
	verify "$1" "$2" "$3" "$4"
}

# extract LOWER [OPTION...]: what tar does by itself. Owners are numbers: the
# image's users are not this machine's. Extended attributes hold capabilities,
# too; those of overlayfs would be obeyed. Names that begin with .wh. are no
# files but whiteouts.
extract() {
	into=$1
	shift
	tar --extract --file "$tmp/layer.tar" --directory "$into" \
		--numeric-owner "$owners" --preserve-permissions --delay-directory-restore \
		--xattrs --xattrs-include='*' --xattrs-exclude='trusted.overlay.*' --xattrs-exclude='user.overlay.*' \
		--warning=no-timestamp --warning=no-unknown-keyword \
		--exclude='.wh.*' "$@" || die 7 "$dir/$into: tar could not unpack the layer"
}

# whiteout FILE: hides the name in the layers below. In the tar it is an empty
# file .wh.NAME (image-spec, layer.md, "Whiteouts"), for overlayfs it is a
# character device 0:0.
whiteout() {
	mknod -m 0 "$1" c 0 0
}

# opaque DIR: hides all that the layers below have in it. In the tar it is an
# empty file .wh..wh..opq, for overlayfs it is an attribute.
opaque() {
	setfattr -n trusted.overlay.opaque -v y "$1"
}

# own OWNER FILE: an ordinary user has no other owners to give.
own() {
	if [ "$owners" = --same-owner ]; then chown -h "$1" "$2"; fi
}

# stamp TIME FILE: its modification time, in seconds since 1970.
stamp() {
	touch -h -d "@$1" "$2"
}

# left_out WHAT: not everybody may make everything in a plain tree; an overlay
# is whole or not there.
left_out() {
	[ "$kind" = flat ] || die 7 "$dir/$1: cannot be made"
	say "$1: is left out, it takes more privilege"
}

# attribute FILE NAME VALUE: an extended attribute.
attribute() {
	setfattr -h -n "$2" -v "$3" "$1" 2>/dev/null || left_out "$1: $2"
}

# drop FILE NAME: takes an extended attribute away.
drop() {
	setfattr -h -x "$2" "$1" || say "$1: has no $2"
}

# no_list FILE: without the access control list that its directory gave it.
no_list() {
	setfattr -x system.posix_acl_access "$1" 2>/dev/null || :
	if [ -d "$1" ]; then setfattr -x system.posix_acl_default "$1" 2>/dev/null || :; fi
}

# hard_link FILE NAME: one more name, of a symbolic link too.
hard_link() {
	if [ -e "$1" ] || [ -L "$1" ]; then ln -P "$1" "$2"; else left_out "$2"; fi
}

# device FILE TYPE MAJOR MINOR OWNER MODE TIME: only root may make one.
device() {
	if mknod "$1" "$2" "$3" "$4" 2>/dev/null; then
		own "$5" "$1"
		chmod "$6" "$1"
		stamp "$7" "$1"
	else
		left_out "$1"
	fi
}

# piece SKIP COUNT SEEK FILE: copies bytes of the layer's tar, where the content
# of an entry stands as it is, behind a header of 512 bytes.
piece() {
	dd if="$tmp/layer.tar" of="$4" bs=64K iflag=skip_bytes,count_bytes oflag=seek_bytes \
		skip="$1" count="$2" seek="$3" conv=notrunc status=none
}

# derived WHAT IMAGE CONFIG: two jq filters, on the image's config and on
# config.json, that have to say the same.
derived() {
	expect "config.json: $1" "$(jq -acS "$2" "$tmp/image-config")" "$(jq -acS "$3" "$tmp/config.json")"
	say "config.json: $1 is the image's: jq '$2'"
}
