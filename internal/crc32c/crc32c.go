package crc32c

import "hash/crc32"

// blockSize is what is folded at once, least the length from which it pays.
const (
	blockSize = 256
	least     = 16 * blockSize
)

var table = crc32.MakeTable(crc32.Castagnoli)

// Update returns the sum of what crc is the sum of, followed by p.
func Update(crc uint32, p []byte) uint32 {
	if len(p) < least || !hasFold {
		return crc32.Update(crc, table, p)
	}
	var rest [blockSize]byte
	blocks := len(p) / blockSize
	fold(&rest, &p[0], blocks, ^crc)
	// hash/crc32 inverts the sum that it begins with.
	crc = crc32.Update(^uint32(0), table, rest[:])
	return crc32.Update(crc, table, p[blocks*blockSize:])
}
