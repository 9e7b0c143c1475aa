package peerapi

// DueRow is a row of a container's listing whose DeleteAt has come. A device tells only its own process of such rows: each peer asks its own devices what has expired.
type DueRow struct {
	Container Key
	Row       Row
}
