# shellcheck shell=sh disable=SC2154 # lib.sh sets them
[ -n "$(jq '.manifests[]' "$image/index.json" 2>/dev/null)" ] || no "$image/index.json is no index any more" \
	"jq … FILE > FILE empties the file; rm -r $image, and scripts/lab start makes it anew"
fetched index.json
fetched manifest.json
same "the index" "$(true_index)" "$(digest index.json)" "the tag v1 must stay what it was"
same "the manifest for $arch" "$(true_manifest)" "$(digest manifest.json)" \
	"the bytes as they came, of the platform that uname -m means"
tag_digest() { sed -n 's/\r$//; s/^[Dd]ocker-[Cc]ontent-[Dd]igest: //p' "$1" | head -n 1; }
file v1.before
file latest.before
same "before: two tags, one digest" "$(tag_digest v1.before)" "$(tag_digest latest.before)" "they were written before the tag moved"
new=$(jq -r '[.manifests[] | select(.annotations["org.opencontainers.image.ref.name"] == "latest")][0].digest' "$image/index.json")
[ "$new" != "$(true_index)" ] || no "in $image/index.json the tag latest is still at $new" "change the entry whose annotation says latest"
case $new in
sha256:*) ;;
*) no "$image/index.json: the digest of latest is $new" "a digest begins with sha256:; only the file's name does without" ;;
esac
[ -f "$(blob "$new")" ] || no "index.json says $new, and blobs/sha256 has no such file" "the file's name is its digest without sha256:"
same "the new manifest has its own digest for a name" "$new" "$(digest "$(blob "$new")")" \
	"one newline more or less is another digest: calculate it from the file that you put there"
same "the annotation" 2 "$(jq -r '.annotations["org.example.lab"]' "$(blob "$new")" 2>/dev/null)"
same "the descriptor's size" "$(wc -c <"$(blob "$new")" | tr -d ' ')" \
	"$(jq -r --arg d "$new" '[.manifests[] | select(.digest == $d)][0].size' "$image/index.json")" "stat -c %s FILE"
same "the descriptor's type" application/vnd.oci.image.manifest.v1+json \
	"$(jq -r --arg d "$new" '[.manifests[] | select(.digest == $d)][0].mediaType' "$image/index.json")" "it is no index any more"
same "the layers are the same" "$(true_layers)" "$(jq -r '.layers[].digest' "$(blob "$new")")" "only the annotation is new"
for tag in v1 latest; do fetched "$tag.after" "scripts/lab restart, a new token, and the loop that wrote $tag.before"; done
same "after: v1 stayed" "$(tag_digest v1.before)" "$(tag_digest v1.after)"
same "after: latest moved" "$new" "$(tag_digest latest.after)" "scripts/lab restart, and a new token"
