// Package testimages makes real images for tests and the benchmark, on the
// machine itself: Debian root filesystems by mmdebstrap, with layers on top
// that packages, deletions and a shell script made in an overlay, as a build
// tool would record them. It also starts Debian's docker-registry to serve
// them.
//
// What is made is kept in a directory of this user's below the temporary one,
// keyed by its recipe, because making it takes longer than most tests. The
// bytes depend on the day's Debian mirror; a test must not depend on them.
package testimages
