# shellcheck shell=sh
[ "$(id -u)" != 0 ] || no "you are root" "log in as somebody else, and scripts/lab start there"
for n in 1 2; do [ -d "$n/dir" ] || no "there is no directory $n/dir"; done
[ ! -e 2/dir/one ] || no "2/dir/one is still there" "the task: no whiteout, but an opaque directory"
same "the opaque directory" y "$(getfattr --only-values -n user.overlay.opaque 2/dir 2>/dev/null)" \
	"user.overlay.opaque, not trusted.overlay.opaque"
[ -z "$(getfattr --only-values -n user.overlay.opaque 2 2>/dev/null)" ] || no "2 itself is opaque" "only 2/dir"
file listing.txt
same "what shows" three "$(cat listing.txt)" "mount with userxattr, in a new upper and work"
file answer.txt
asked "whose the file is" "$(tr -d ' \n' <answer.txt)" "$(id -u)" "/proc/self/uid_map has the line: inside, outside, how many"
