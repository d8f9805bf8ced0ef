package sha256pair

// HasSHA is for the tests.
var HasSHA = hasSHA
