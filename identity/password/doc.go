// Package password keeps and checks passwords: bcrypt over a SHA-256 of the password (so that neither length nor content is cut short), computed by few
// workers behind a bounded queue, and a throttle that slows guessing down.
package password
