package tarstream

import "fmt"

// FormatError says that the stream is not a well-formed tar archive.
type FormatError struct {
	Offset int64 // bytes of the stream before the block at fault
	Reason string
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("read tar at byte %d: %s", e.Offset, e.Reason)
}

// LimitError says that the archive asks for more than is allowed.
type LimitError struct {
	Limit string // the name of the limit
	Max   int64
	Got   int64 // at least this much was asked for
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("layer exceeds the limit %s: %d allowed, found %d", e.Limit, e.Max, e.Got)
}
