# shellcheck shell=sh disable=SC2154 # lib.sh sets them
layer=$(true_layers | sed -n 4p)
bad=evil/blobs/sha256/${layer#sha256:}
[ -f "$bad" ] || no "$LAB/8/evil has no layer 4" "cp -R the layout first"
[ "$(digest "$bad")" != "$layer" ] || no "the blob in evil is as it was" "dd with conv=notrunc, at seek=100"
[ "$(digest "$(blob "$layer")")" = "$layer" ] || no "the blob in $image itself was changed" "only the copy; rm -r $image, scripts/lab start makes it again"
ok "one byte is another"
file blob.status
same "byhand's status" "status 3" "$(cat blob.status)" "from the registry that serves evil"
grep -q "$layer" blob.err || no "blob.err does not name $layer"
grep -q "$(digest "$bad")" blob.err || no "blob.err does not name what was found"
ok "expected and found are named"
[ ! -e box ] || no "there is a box" "which image did byhand unpack?"
ok "nothing was left"
file answer.txt
asked "the name that catches it" "$(tr -d ' \n' <answer.txt)" digest "a tag means what the registry says it means"
[ -f mitm/index.json ] || no "there is no layout mitm"
walk=$(jq -r '[.manifests[] | select(.annotations["org.opencontainers.image.ref.name"] == "v1")][0].digest' mitm/index.json)
same "the new index" "$walk" "$(digest "mitm/blobs/sha256/${walk#sha256:}")" "name and content must fit again"
[ "$walk" != "$(true_index)" ] || no "mitm's v1 is still the honest image" "index.json comes last"
walk=$(jq -r --arg arch "$arch" '.manifests[] | select(.platform.architecture == $arch) | .digest' "mitm/blobs/sha256/${walk#sha256:}")
same "the new manifest" "$walk" "$(digest "mitm/blobs/sha256/${walk#sha256:}")"
top=$(jq -r '.layers[4].digest' "mitm/blobs/sha256/${walk#sha256:}")
same "its top layer is the hostile one" "$(digest hostile/link.tar)" "$top"
file tag.status
same "by tag it succeeds" "status 0" "$(cat tag.status)" "byhand's message says which digest does not fit yet"
[ -L by-tag/link ] || no "by-tag/link is not the link" "--rootfs flat writes by-tag/rootfs; name the directory as the task does: unpack lab/demo:v1 by-tag"
[ -f by-tag/tmp/byhand-lab-8 ] || no "by-tag/tmp/byhand-lab-8 is missing" "the file goes where the link points, inside the root"
ok "the file went to the image's own /tmp"
[ ! -e /tmp/byhand-lab-8 ] || no "/tmp/byhand-lab-8 is there" "who wrote it? Delete it and try again with byhand"
ok "yours has nothing"
file digest.status
case $(cat digest.status) in
"status 4") ok "by digest: that image is not there" ;;
"status 3") ok "by digest: that is not what was asked for" ;;
*) no "digest.status: expected a failure, found $(cat digest.status)" "lab/demo@ and the digest of lab 2's index.json" ;;
esac
