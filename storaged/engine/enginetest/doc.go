// Package enginetest is the contract of engine.Engine as a test suite: every implementation runs it.
package enginetest
