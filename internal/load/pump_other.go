//go:build !unix

package load

// pump reads until the connection fails or is interrupted.
func (c *conn) pump() error {
	buf := c.r.buffers.get()
	defer c.r.buffers.put(buf)
	b := *buf
	kept := copy(b, c.left)
	c.left = nil
	for {
		n, err := c.nc.Read(b[kept:])
		used, failed := c.batch(b[:kept+n])
		kept = copy(b, b[used:kept+n])
		if failed != nil {
			return failed
		}
		if err != nil {
			c.left = append(c.left, b[:kept]...)
			return err
		}
	}
}

// hungUp has nothing to add: every end is seen by Read.
func hungUp(socket) bool { return false }
