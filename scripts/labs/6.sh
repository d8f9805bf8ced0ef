# shellcheck shell=sh
file config.json
jq -e . config.json >/dev/null 2>&1 || no "config.json is no JSON" "$(jq . config.json 2>&1 | tail -n 1)"
image_config() { jq -c ".config.$1" "$(blob "$(true_config)")"; }
mine() { jq -c "$1" config.json; }
same "the arguments" "$(jq -c '.config | (.Entrypoint // []) + (.Cmd // [])' "$(blob "$(true_config)")")" "$(mine .process.args)" \
	"Entrypoint, then Cmd"
same "no terminal" false "$(mine .process.terminal)"
same "the root" "$(cd ../5/merged && pwd -P)" "$(cd "$(jq -r '.root.path // "?"' config.json)" 2>/dev/null && pwd -P)" "../5/merged"
same "writable" false "$(mine '.root.readonly // false')"
same "the user" 1000:1000 "$(jq -r '.process.user | "\(.uid):\(.gid)"' config.json)" "numbers, from the image's /etc/passwd"
same "the groups" '[1000,1001]' "$(mine '.process.user.additionalGids | sort')" "/etc/group names demo in one more group"
same "the working directory" "$(image_config WorkingDir)" "$(mine .process.cwd)" "WorkingDir in the image's config"
for value in $(jq -r '.config.Env[] | @base64' "$(blob "$(true_config)")"); do
	value=$(say "$value" | base64 -d)
	jq -e --arg v "$value" '.process.env | index($v)' config.json >/dev/null ||
		no "the environment lacks ${value%%=*}" "all of the image's Env, as it is there"
done
twice=$(jq -r '.process.env[] | sub("=.*"; "")' config.json | sort | uniq -d | head -n 1)
[ -z "$twice" ] || no "the environment has $twice twice" "the image's Env takes the place of runc spec's"
ok "the image's environment"
jq -e '.process.env | index("HOME=/home/demo")' config.json >/dev/null || no "HOME is missing" "HOME=/home/demo"
ok "HOME"
file answer.txt
asked "4294967296 in 32 bits" "$(tr -d ' \n' <answer.txt)" 0 "2 to the power of 32; count on from 4294967295"
