# Run in a container as its first process: prints what that can see of itself,
# a fact=value a line. The environment comes first, as the runtime set it.
/bin/cat /proc/$$/environ | /bin/tr '\n\000' '~\n' | /bin/sed 's/^/env./; s/^\(env\.[^=]*\)=\(.*\)/\1=[\2]/'
OLD=$PWD PATH=/bin
echo "pwd=$OLD"
echo "uid=$(id -u)"; echo "gid=$(id -g)"; echo "groups=$(id -G)"
echo "hostname=$(hostname)"; echo "umask=$(umask)"; echo "pid=$$"
grep -E '^(Cap...|NoNewPrivs|Seccomp):' /proc/self/status | sed 's/:\t/=/; s/^/status./'
sed -n 's/   */|/g; s/^\(Max [^|]*\)|\([^|]*\)|\([^|]*\).*/limit.\1=\2 \3/p' /proc/self/limits
for at in /proc/self/ns/*; do echo "ns.${at##*/}=$(readlink "$at")"; done
echo "oom=$(cat /proc/self/oom_score_adj)"
while read -r source at type options _; do
	case $type in overlay | ext4 | xfs | btrfs | tmpfs) ;; *) type="$type of $source" ;; esac
	[ "$at" != / ] || type=root
	echo "mount.$at=$type $(echo "$options" | tr , '\n' | grep -Ev '^(lowerdir|upperdir|workdir|redirect_dir|index|uuid|metacopy|xino|discard|resv|resuid|resgid|inode|nr_)' | sort | tr '\n' ',')"
done </proc/mounts
for at in / /tmp /etc /run /dev /dev/shm /dev/mqueue /proc/sys/kernel /sys /sys/fs/cgroup /data /other; do
	[ -d "$at" ] || continue
	if (: >"$at/byhand-probe") 2>/dev/null; then rm "$at/byhand-probe"; echo "write.$at=yes"; else echo "write.$at=no"; fi
done
for at in /.[!.]* /* /etc/* /run/.[!.]* /run/*; do
	if [ -e "$at" ] || [ -L "$at" ]; then echo "tree.$at=$(stat -c '%F %a %u:%g' "$at")"; fi
done
for at in /etc/passwd /etc/group; do
	[ ! -r $at ] || echo "text.$at=$(tr '\n' ' ' <$at)"
done
for at in acpi asound bus fs interrupts irq kcore keys latency_stats sched_debug scsi sysrq-trigger timer_list timer_stats; do
	[ -e /proc/$at ] || continue
	if [ -d /proc/$at ]; then has=$(ls /proc/$at | wc -l); else has=$(head -c 4 /proc/$at 2>/dev/null | wc -c); fi
	echo "shows./proc/$at=$([ "$has" -gt 0 ] && echo something || echo nothing)"
done
for at in /sys/firmware /sys/dev/block /sys/devices/virtual/powercap; do
	[ -e $at ] && echo "shows.$at=$([ "$(ls $at | wc -l)" -gt 0 ] && echo something || echo nothing)"
done
for at in /dev/*; do [ "$at" = /dev/byhand-probe ] || echo "dev.$at=$(stat -c '%F %a %u:%g %t:%T' "$at")"; done
for at in net/ipv4/ip_unprivileged_port_start net/ipv4/ping_group_range kernel/domainname; do
	echo "sysctl.$at=$(tr '\t' ' ' </proc/sys/$at)"
done
echo "interfaces=$(ls /sys/class/net | tr '\n' ' ')"
echo "ids=$(tr -s ' ' </proc/self/uid_map)"
for at in /data /other; do
	[ ! -d $at ] || (cd $at && find . | sort | while read -r f; do echo "volume.$at/$f=$(stat -c '%F %a %u:%g' "$f") $(head -n 1 "$f" 2>/dev/null)"; done)
done
