package guests

import (
	"time"

	"golang.org/x/sys/unix"
)

// Booted is when this machine came up, in Unix seconds; 0 when it does not tell.
func Booted() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0
	}
	return time.Now().Unix() - int64(info.Uptime)
}
