//go:build !amd64

package crc32c

const hasFold = false

func fold(_ *[blockSize]byte, _ *byte, _ int, _ uint32) {
	panic("crc32c: there is no carry-less multiplication") // hasFold said so
}
