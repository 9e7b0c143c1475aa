package api

import "henge/computed/fields"

const (
	metadataItemsMax = fields.MetadataItemsMax
	metadataTextMax  = fields.MetadataTextMax
)

// How fields are read, by the names that the handlers know.
var (
	number       = fields.Number
	takeInt      = fields.Int
	takeFloat    = fields.Float
	takeBool     = fields.Bool
	takeMetadata = fields.Metadata
	isTrue       = fields.IsTrue
	isFalse      = fields.IsFalse
	shorten      = fields.Shorten
)
