// Package core is the object store as a proxy sees it, in our own words: quorums, conditions, listings, large objects. The dialects (proxy/swift,
// proxy/s3) only parse and render; they see nothing but Service.
//
// Core is the implementation, over the devices of the cluster. It promises what docs/consistency.md says, and DESIGN.md says how. It keeps no state of its own but
// caches: any number of proxies may work on the same names at once. It does not authenticate, knows no dialect, and repairs only what it meets.
package core
