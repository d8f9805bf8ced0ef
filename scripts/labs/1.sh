# shellcheck shell=sh
file challenge.txt "keep what the first curl -si printed, as the lab shows"
grep -q '^HTTP/[0-9.]* 401' challenge.txt || no "challenge.txt: expected status 401" "ask without a token"
grep -qi '^www-authenticate: bearer ' challenge.txt || no "challenge.txt has no Www-Authenticate header" "curl needs -i to print headers"
ok "the challenge"
file token.json
jq -e '.token | length > 0' token.json >/dev/null 2>&1 || no "token.json holds no token" "its content is: $(head -c 100 token.json)"
ok "the token"
file claims.json
same "the token is for" repository:lab/demo:pull \
	"$(jq -r '.access[0] | "\(.type):\(.name):\(.actions | join(","))"' claims.json 2>/dev/null)" "the scope in the token request says what it is for"
file headers.txt
grep -q '^HTTP/[0-9.]* 200' headers.txt || no "headers.txt: expected status 200, found $(head -n 1 headers.txt | tr -d '\r')" \
	"the Authorization header must be there, and a token lives five minutes: get a new one"
fetched index.json
served=$(sed -n 's/\r$//; s/^[Dd]ocker-[Cc]ontent-[Dd]igest: //p' headers.txt)
same "the index is what the registry announced" "$served" "$(digest index.json)" \
	"the bytes must stay as they came: no jq, no editor in between"
same "the index is the image's" "$(true_index)" "$(digest index.json)" "did Accept name the type of an index?"
file answer.txt
asked "the status for another repository" "$(tr -d ' \n' <answer.txt)" 401 \
	"ask with the token and look at the first line; 404 would tell strangers which repositories there are"
fetched tags.json "curl -s http://$REGISTRY/v2/lab/demo/tags/list, with the token as for the index"
jq -e . tags.json >/dev/null 2>&1 || no "tags.json is no JSON: it begins with $(head -n 1 tags.json | tr -d '\r')" "curl -s, without -i"
same "the tags" "latest v1" "$(jq -r '.tags | sort | join(" ")' tags.json 2>/dev/null)" "the same header as for the index"
