// Package overlay keeps images and their unpacked layers in a directory, the
// store, and makes root file systems of them: as overlay mounts or as plain
// trees.
//
// [Open] opens a store, [Store.AddAll] unpacks the layers of an image into it,
// [Store.PutBlob] and [Store.Tag] list the image. [Store.Use], [Prepare] and
// [Mount], or [Flatten], make a root file system of the layers. Package bundle's
// example "Image" goes from an image's name through this store to a bundle.
//
// # Disk layout
//
//	oci-layout, index.json, blobs/ALGORITHM/…   an OCI image layout; manifests, configs and indexes are
//	                                            always kept, layer blobs when asked for
//	layers/CHAINID/diff/                        a lower dir as overlayfs reads it
//	layers/CHAINID/link                         the layer's short name
//	layers/CHAINID/lower                        its parents' short links, nearest first: l/B:l/A
//	layers/CHAINID/layer.json                   facts; written last
//	layers/CHAINID/tar-record.s2                what the layer's tar is made of beside its files; see Proof
//	l/SHORT -> ../layers/CHAINID/diff           keeps mount options short
//	store.json                                  how the layers were made: markers, owners, ID mapping
//	bundles/KEY.json                            a bundle that uses layers
//	bundles/KEY.ref                             a hard link of its image.json, by which it is known after a move
//	staging/                                    work in progress; never read as content
//
// CHAINID is the hex of the chain ID (ALGORITHM-HEX if that is not SHA-256),
// SHORT the base32 of its first 128 bits, so that both can be found from the
// config alone. An entry of index.json carries the image's name and a few
// facts as annotations. What is below blobs, layers, l, staging and bundles is for
// the owner only: layers hold set-user-ID programs, and images may be private.
//
// # Staging
//
// An open Store that writes has an owner there:
//
//	ID.owner            locked for as long as the Store is open; its lines are leases, that is
//	                    the layers and blobs which this process relies on
//	ID-N                a tree or file that it works on, or is deleting
//	CHAINID.lock        locked while somebody makes, marks or removes that layer
//	ALG-HEX.BOOT.part   a blob in the making, locked by its writer
//	CHAINID.BOOT.layer  a layer that is verified and waits for those below it, before
//	                    it is settled on them; CHAINID.lock is its maker's
//
// All locks are flock(2), which the kernel drops with the process. So what
// carries the ID of an unlocked owner is dead, and the next process that writes
// to the store sweeps it. A part that nobody holds can be resumed, and a waiting
// layer taken over, for a week in the boot that wrote it, and is swept then.
//
// # Locks
//
// In this order; a later one may be waited for while holding an earlier one,
// never the reverse:
//
//  1. CHAINID.lock, of any number of layers. Who makes a layer holds its lock
//     while it waits for the layers below, never for one above, so there is
//     no circle. Removal only tries these locks and leaves what is locked.
//  2. ALG-HEX.BOOT.part. Sources take it inside Open. It must not be held
//     while waiting for a layer.
//  3. the directory layers: shared while leases are written, exclusive while
//     something is removed, that is for some renames; trees are deleted later.
//  4. the directory l: while index.json or store.json change.
//
// All of these are below directories that only the store's owner can open: who
// can open a file, even just for reading, can lock it, and keep it locked.
//
// Readers take no lock: index.json changes by rename, layers and blobs come and
// go by rename. Leasing comes before looking, and removal reads the leases
// under its exclusive lock, so either the lease is seen or the layer is
// already gone when looked for.
//
// # Crash behaviour
//
// A layer is unpacked in staging and gets its name by one rename, after its
// stream ended verified and it was settled on the layers below. A blob gets its
// name after size and digest matched. index.json names an image after its
// manifest and config were read back. So a process may be killed at any moment
// and nothing unverified is ever found under a final name.
//
// A power loss is different: a rename can reach the disk before the content
// does. Documents and blobs are synced before their rename; blobs are sent to
// the disk while they arrive, so that little is left to wait for. A layer is
// tens of thousands of files, and is not waited for unless Options.Sync says
// so. Instead layer.json holds the ID of the boot in which the layer was made,
// and whether the file system was synced since. In the same boot every layer
// is good; in another one a layer that was not synced counts as missing for
// readers ([Store.Has], [Store.Layers]), until [Store.Prove], which AddAll
// calls, has looked at it: if it still proves to be what its diff ID says, it is
// synced and marked, else it is unpacked again and takes the other's place.
//
// Layers come to be synced by Options.Sync (syncfs(2) before the rename), by
// [Store.Sync], or by the first AddAll that finds its layers there and the
// machine with next to nothing left to write, which is the case some 30 s after
// they were unpacked: then a sync costs milliseconds. There is no process in
// the background.
//
// # Proof
//
// tar-record.s2 is what unpack.Options.Record writes while the layer is
// unpacked, compressed, and behind it, in a stream of its own, what settling
// moved, deleted or copied. With the files it gives the layer's tar again, byte
// for byte: [Store.OpenLayer], and [Store.Verify], which also compares every file
// with its header. [Store.Repair] replaces a layer that fails by exchanging it
// with a new one, unless somebody has it mounted or leased. A layer without the
// file, made by an earlier version, can be used but not proved.
//
// # Removal
//
// Remove and Prune rename a layer into staging and delete it there, so that it
// is whole or gone. They spare what an image, a bundle or another process needs,
// and what an overlay mount has as a lower dir, in any mount namespace that the
// process may look into; what the names in others' mount tables lead to is never
// asked of a file system, which could make root wait for ever. They refuse a
// layer in which something is mounted, before anything of it is deleted.
// Deleting goes by descriptors, follows no link and crosses no mount, also not
// one that comes while it runs.
package overlay
