package ring

import "crypto/sha256"

// Hash is the place of a name on the circle: the first 16 bytes of SHA-256 over the cluster's secret and the path.
type Hash [16]byte

// Partition is a slice of the circle: the top bits of a Hash.
type Partition uint32

// Secret makes hashes differ between clusters, so that nobody outside can choose names that fall into one partition.
// It is made once, with the cluster, and never changes.
type Secret [16]byte

// HashPath hashes an account (container and object empty), a container (object empty) or an object. Names must not
// contain a slash in account or container; the caller has checked that. Names up to 1536 bytes in sum do not allocate.
func HashPath(secret Secret, account, container, object string) Hash {
	var stack [1600]byte
	b := append(stack[:0], secret[:]...)
	b = append(b, '/')
	b = append(b, account...)
	if container != "" {
		b = append(b, '/')
		b = append(b, container...)
		if object != "" {
			b = append(b, '/')
			b = append(b, object...)
		}
	}
	sum := sha256.Sum256(b)
	return Hash(sum[:16])
}
