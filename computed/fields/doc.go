// Package fields reads what Nova's clients send in forms of its own: numbers and booleans that may be text.
package fields
