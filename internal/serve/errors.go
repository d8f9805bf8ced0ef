package serve

import "net/http"

// Codes of the distribution specification, section "Error Codes", and the two
// of Docker's registry that it does not name.
const (
	codeBlobUnknown     = "BLOB_UNKNOWN"
	codeDigestInvalid   = "DIGEST_INVALID"
	codeManifestUnknown = "MANIFEST_UNKNOWN"
	codeNameInvalid     = "NAME_INVALID"
	codeNameUnknown     = "NAME_UNKNOWN"
	codeUnauthorized    = "UNAUTHORIZED"
	codeUnsupported     = "UNSUPPORTED"
	codePagination      = "PAGINATION_NUMBER_INVALID"
	codeUnknown         = "UNKNOWN"
)

type errorEntry struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func writeError(w http.ResponseWriter, status int, code, message string) {
	writeJSON(w, status, struct {
		Errors []errorEntry `json:"errors"`
	}{[]errorEntry{{code, message}}})
}
