package unpack

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/byhand/byhand/internal/layername"
	"github.com/byhand/byhand/internal/tarstream"
)

// ErrEscape is the cause of an EntryError for a name or hard link target that
// leads out of the layer by "..".
var ErrEscape = layername.ErrEscape

// ErrHostile is the cause of an EntryError for an entry that no honest tool
// writes, such as a whiteout of "..".
var ErrHostile = errors.New("entry makes no sense")

// EntryError is a failure at one entry of the layer. Local causes such as
// ENOSPC are found with errors.Is.
type EntryError struct {
	Name string // as written in the layer
	Op   string // what was being done, such as "make directory"
	Err  error
}

func (e *EntryError) Error() string {
	return fmt.Sprintf("%s %s: %v", e.Op, strconv.Quote(e.Name), e.Err)
}

func (e *EntryError) Unwrap() error { return e.Err }

// FormatError says that the stream is not a well-formed tar archive. Offset
// is in bytes of the uncompressed stream.
type FormatError = tarstream.FormatError

// LimitError says that a layer asks for more than Limits allow. Limit is the
// name given there.
type LimitError = tarstream.LimitError
