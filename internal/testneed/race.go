//go:build race

package testneed

// raceFactor is how many times slower the race detector makes a program.
const raceFactor = 4
