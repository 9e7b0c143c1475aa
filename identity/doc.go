// Package identity puts the identity service together: Keystone's API, the tokens and access keys that every API checks, Swift's v1 authentication, and
// the first contents of a new cloud. DESIGN.md is the map; docs/identity.md is for operators.
package identity
