// Package bundle turns an image config and a root filesystem into an OCI
// runtime bundle: the directory that `runc run --bundle DIR ID` starts.
//
// [Spec] computes config.json from the image config's raw bytes, the merged
// root filesystem and the caller's [Options]. It makes what `docker run` would
// have made for the same image and flags, restricted to fields that old and
// new runtimes understand alike. It only reads. [Check] does the part that
// needs no root filesystem, so that a caller can refuse early.
//
// [PopulateVolumes] gives each volume of the image its directory in the
// bundle, and [Write] publishes config.json.
//
// # What the image may not do
//
// Both the image config and every file of the root filesystem are foreign.
// Paths are resolved component by component inside the root: a symbolic link
// to /etc/passwd names the root's own /etc/passwd, never the machine's. The
// user database is read only from regular files of at most 10 MiB. A malformed
// user or group ID is an error, and never becomes 0. Labels that steer a
// runtime are dropped unless [Options].KeepRuntimeLabels is set.
//
// # The bundle directory
//
//	config.json   written last: a directory that has it is a whole bundle
//	image.json    what the bundle was made from, see [Image]
//	rootfs        the merged tree, the caller's business
//	volumes/N     the image's volumes, named by config.json with relative paths
//
// [Remove] deletes such a directory, and nothing that anybody else put there.
// [Write] never replaces a config.json unless told to, because people edit it.
package bundle
