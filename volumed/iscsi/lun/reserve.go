package lun

// conflicts says whether another initiator's reservation forbids a command.
func (u *Unit) conflicts(c *Command, op *operation) bool {
	if !u.guarded.Load() || op.access == accessAlways {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.reserved != nil && u.reserved != c.Nexus {
		allowed := c.CDB[0] == opRelease6 || c.CDB[0] == opRelease10 || (c.CDB[0] == opPreventAllow && c.CDB[4]&1 == 0)
		return !allowed
	}
	return u.persistent.forbids(c.Nexus.ID, op.access)
}

// reserve is RESERVE(6) and (10): the whole unit for one initiator. Beside persistent registrations it is refused (SPC-4, 5.13.3).
func reserve(u *Unit, c *Command) {
	if c.CDB[1]&0x11 != 0 {
		c.failField(1) // extents and third parties
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.persistent.registered) > 0 {
		c.Status = StatusConflict
		return
	}
	u.reserved = c.Nexus
	u.guard()
}

// release is RELEASE: from who does not hold the reservation it changes nothing, and is good.
func release(u *Unit, c *Command) {
	if c.CDB[1]&0x11 != 0 {
		c.failField(1)
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.persistent.registered) > 0 {
		c.Status = StatusConflict
		return
	}
	if u.reserved == c.Nexus {
		u.reserved = nil
		u.guard()
	}
}
