package s3

import "henge/proxy/s3/fault"

func (c *call) isForm() bool      { return false }
func (c *call) postObject() error { return fault.New(fault.NotImplemented) }
