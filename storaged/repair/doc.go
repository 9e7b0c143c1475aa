// Package repair brings the replicas of objects and listings together again: what a device lacks it takes from its fellows, what it keeps for others it brings to them,
// and what it holds it reads, now and then, to the last byte.
//
// It promises that whatever one device failed or missed is at all primaries again after a pass in which they all answered, that nothing deleted comes back, and that
// a device which began empty, or was away for longer than deletes are remembered, speaks for nothing before it has caught up.
// It makes no decisions about versions: the newest wins, as everywhere. See DESIGN.md.
package repair
