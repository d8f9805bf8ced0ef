# shellcheck shell=sh
file status.txt "the Uid, Gid and Cap lines of /proc/PID/status, while the container sleeps"
grep -q '^Uid:[[:space:]]*1000' status.txt || no "status.txt: expected Uid 1000" "the process of lab 6's user, not runc's"
ok "the container's process is 1000 outside, too"
file answer.txt
asked "CapBnd" "$(tr -d ' \n' <answer.txt | tr A-F a-f)" 0000000020000420 "1<<29 | 1<<10 | 1<<5, as 16 digits, without 0x"
jq -e '([.process.capabilities[]? | length] | add // 0) == 0' config.json >/dev/null 2>&1 ||
	no "config.json still gives capabilities: $(jq -c .process.capabilities config.json)" "an empty list for each set"
same "root" 0:0 "$(jq -r '.process.user | "\(.uid):\(.gid)"' config.json)"
file root.txt "what hello id printed"
grep -q 'uid=0' root.txt || no "root.txt: expected uid=0, found $(head -n 1 root.txt)" "process.user, and args [\"hello\", \"id\"]"
ok "the program says that it is root"
file root-status.txt "the Uid and Cap lines, as for status.txt, while the new container sleeps"
grep -q '^Uid:[[:space:]]*0' root-status.txt || no "root-status.txt: expected Uid 0"
same "and it can do nothing" "0000000000000000" "$(sed -n 's/^CapBnd:[[:space:]]*//p' root-status.txt)" \
	"bounding, effective and permitted all empty"
