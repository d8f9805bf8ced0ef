# shellcheck shell=sh
for dir in upper work merged; do [ -d "$dir" ] || no "there is no directory $dir" "mkdir -p upper work merged"; done
here=$(pwd -P)
grep -q " $here/merged .* - overlay " /proc/self/mountinfo ||
	no "no overlay is mounted on $here/merged" "is this shell in the mount namespace where you mounted it?"
ok "an overlay is mounted"
[ ! -e merged/srv/notes/two.txt ] || no "merged/srv/notes/two.txt shows" "the order of lowerdir: the top layer comes first"
[ ! -e merged/var/lib/demo/old.txt ] || no "merged/var/lib/demo/old.txt shows" "lab 4's opaque directory"
grep -q container merged/etc/motd || no "merged/etc/motd is not what the lab writes" \
	"echo 'written in the container' > merged/etc/motd; without an upperdir the overlay is read-only"
grep -q container upper/etc/motd 2>/dev/null || no "upper/etc/motd is missing" "upperdir is where writes go"
! grep -q container ../4/5/etc/motd || no "the layer itself was changed" "never write to a lower directory; unpack layer 5 again"
ok "writes go to upper"
same "a deletion is a whiteout" "character special file 0:0" "$(stat -c '%F %t:%T' upper/srv/notes/one.txt 2>/dev/null)" "rm merged/srv/notes/one.txt"
[ -d merged/var/lib/demo ] || no "merged/var/lib/demo is not there" "the task: delete it, and make it again"
same "the new directory is empty" "" "$(ls -A merged/var/lib/demo)" "rm -r, then mkdir"
same "and opaque" y "$(getfattr --only-values -n trusted.overlay.opaque upper/var/lib/demo 2>/dev/null)" \
	"delete the directory, not just what is in it"
file answer.txt
asked "the attribute" "$(tr -d ' \n"' <answer.txt)" trusted.overlay.opaque=y "getfattr -d -m - upper/var/lib/demo has it: NAME=VALUE"
[ -f box/config.json ] || no "box/config.json is missing" "byhand pull-and-unpack, as the lab shows"
ok "byhand's bundle beside it"
