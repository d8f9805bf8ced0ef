# shellcheck shell=sh
for n in 1 2 3 4 5; do
	[ -d "$n" ] || no "there is no directory $n" "one for each layer"
done
for path in 1/etc/passwd 2/usr/bin/look 3/srv/notes/one.txt 4/var/lib/demo/new.txt 5/etc/motd; do
	[ -f "$path" ] || no "$path is missing" "unpack each layer into its own directory"
done
ok "five layers unpacked"
same "hard links are kept" "$(stat -c %i 2/usr/bin/hello)" "$(stat -c %i 2/usr/bin/look)" "tar keeps them within one layer; cp -r would not"
same "owners are kept" 1000:1000 "$(stat -c %u:%g 3/data/seed.txt)" "unpack as root, with --numeric-owner"
left=$(find . -name '.wh.*' ! -name .wh..wh..opq | head -n 1)
[ -z "$left" ] || no "$left is still there" "overlayfs would show it as a file"
[ -e 4/srv/notes/two.txt ] || no "4/srv/notes/two.txt is missing" "the whiteout has the name of what it hides"
same "the whiteout" "character special file 0:0" "$(stat -c '%F %t:%T' 4/srv/notes/two.txt)" "mknod FILE c 0 0"
left=$(find . -name .wh..wh..opq | head -n 1)
[ -z "$left" ] || no "$left is still there" "the task: it becomes an attribute of its directory"
have getfattr || no "getfattr is not installed" "apt-get install attr"
same "the opaque directory" y "$(getfattr --only-values -n trusted.overlay.opaque 4/var/lib/demo 2>/dev/null)" \
	"setfattr -n trusted.overlay.opaque -v y, on 4/var/lib/demo"
[ -z "$(getfattr --only-values -n trusted.overlay.opaque 4/var/lib 2>/dev/null)" ] ||
	no "4/var/lib is opaque, too" "the marker was in var/lib/demo"
file answer.txt
asked "the lowest layer with an entry for var/lib/demo" "$(tr -cd 0-9 <answer.txt)" 3 "tar -tzf ../3/layerN.tar.gz | grep demo/"
