// Package model is what the image service keeps in the replicated state: images, whom they are shared with, uploads under way, and tasks; and the pure rules about
// them: which status follows which, and who sees what. It holds no bytes of images, and does no I/O but through state.Reader and state.Writer.
package model
