// Package fetch opens what a user's URL names, for imports by web-download, without lending the user the cloud's own place in the network: it goes to public addresses,
// at the ports of the web, and to what the operator allows besides. Names are judged by what they resolve to at the moment of the connection, redirects are judged like
// the first URL, and no proxy, cookie or credential is used.
package fetch
