# shellcheck shell=sh
fetched manifest.json
fetched config.json
same "the manifest" "$(true_manifest)" "$(digest manifest.json)"
same "the config" "$(true_config)" "$(digest config.json)" "its digest is in the manifest"
n=0
for layer in $(true_layers); do
	n=$((n + 1))
	fetched "layer$n.tar.gz"
	same "layer $n" "$layer" "$(digest "layer$n.tar.gz")"
done
file answer.txt
asked "the digest that stays" "$(tr -d ' \n' <answer.txt | tr '[:upper:]' '[:lower:]' | sed 's/id$//')" diff "gunzip -c layer2.tar.gz | gzip -1 | sha256sum, and the same with -9"
file chains.txt "five lines, sha256:…"
n=0
for chain in $(true_chains); do
	n=$((n + 1))
	case $n in
	1) hint="the first chain ID is the first diff ID" ;;
	*) hint="printf '%s %s' CHAIN DIFF | sha256sum: both with sha256: in front, and echo would add a newline" ;;
	esac
	same "chain ID $n" "$chain" "$(sed -n "${n}p" chains.txt | tr -d ' \r')" "$hint"
done
same "no more than five" 5 "$(grep -c . chains.txt)"
