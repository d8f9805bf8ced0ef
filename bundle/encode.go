package bundle

// Encode returns the bytes of config.json as Write writes them.
func (r Result) Encode() ([]byte, error) { return marshal(r.Spec) }

// Encode returns the bytes of image.json as WriteImage writes them.
func (i Image) Encode() ([]byte, error) { return marshal(i) }
