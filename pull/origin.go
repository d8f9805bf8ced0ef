package pull

// Origins returns the URLs of the registry that ref names, without its
// mirrors, in the order in which they are tried: for registries on this
// machine HTTPS comes first, and then plain HTTP. Paths begin with /v2/.
func (c *Client) Origins(ref Reference) []string {
	if ref.Transport != Registry {
		return nil
	}
	var h hostConfig
	c.completeOrigin(&h, ref.Host)
	urls := make([]string, 0, len(h.schemes))
	for _, scheme := range h.schemes {
		urls = append(urls, scheme+"://"+h.host)
	}
	return urls
}
