//go:build !race

package testneed

const raceFactor = 1
