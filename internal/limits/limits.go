// Package limits holds every bound that a client, a peer or time could otherwise push without end. One place, so that an operator (and
// /info) can be told them, and a test can walk them.
package limits

import "time"

// Names and metadata of objects, containers and accounts: Swift's defaults (/info, "swift").
const (
	AccountNameBytesMax   = 256
	ContainerNameBytesMax = 256
	ObjectNameBytesMax    = 1024
	MetaNameBytesMax      = 128
	MetaValueBytesMax     = 256
	MetaCountMax          = 90
	MetaTotalBytesMax     = 4096
	HeaderBytesMax        = 64 << 10 // all of a request's headers
	HeaderCountMax        = 256
)

// Sizes.
const (
	ObjectBytesMax        = 5 << 30   // one plain object or part (Swift and S3 agree on 5 GiB)
	ManifestBytesMax      = 8 << 20   // an SLO manifest or a CompleteMultipartUpload body as sent
	ManifestSegmentsMax   = 10_000    // parts of one large object (S3)
	SLOSegmentsMax        = 1000      // Swift's max_manifest_segments
	RequestBodyBytesMax   = 1 << 20   // any XML or JSON body that is not a manifest
	ListingMax            = 10_000    // Swift's page
	ListingS3Max          = 1000      // S3's page
	BulkDeleteMax         = 10_000    // names in one Swift bulk delete
	MultiDeleteMax        = 1000      // keys in one S3 DeleteObjects
	RangesMax             = 50        // ranges in one request
	ChunkHeaderBytesMax   = 1024      // one aws-chunked chunk header
	ChunkBytesMax         = 16 << 20  // one aws-chunked chunk
	TrailerBytesMax       = 16 << 10  // the trailers after an aws-chunked body
	LingerBytesMax        = 64 << 20  // of a body that nobody wants, read so that the client sees the answer
	InlineBytesMax        = 64 << 10  // objects up to this size lie in the device's log; larger ones in files of their own
	CopyBufferBytes       = 256 << 10 // one pooled buffer of a streaming copy
	RPCMessageBytesMax    = 1 << 20   // one message between peers
	StateValueBytesMax    = 4 << 20   // one value in the replicated state (a ring is the largest)
	RPCStreamsPerPeerMax  = 4096      // calls under way on one peer's behalf
	MultipartPartBytesMin = 5 << 20   // every part but the last (S3)
)

// Images: Glance's defaults.
const (
	ImageSegmentBytes    = 64 << 20 // one object of an image's data
	ImageNameCharsMax    = 255
	ImagePropertiesMax   = 128
	ImagePropertyBytes   = 65535 // one property's value
	ImageTagsMax         = 128
	ImageMembersMax      = 128
	ImagesPageMax        = 1000
	ImagesPage           = 25 // when the client does not say
	ImageTasksMax        = 64 // kept of one image; the oldest go
	ImageImportsMax      = 16 // downloads under way on one peer
	ImageFiltersMax      = 64 // in one list request
	MetadefNamespacesMax = 1024
	MetadefEntriesMax    = 1024 // objects, properties or tags of one namespace
)

// Times. Each remote call takes its deadline from here.
const (
	DialTimeout         = 2 * time.Second
	PeerCallTimeout     = 5 * time.Second  // a small call between peers
	PeerBeginTimeout    = time.Second      // until a device says that it is ready to take an object's bytes: it need not touch its disk for that
	PeerRowTimeout      = time.Second / 2  // until a container's replica has a row; then it is queued, and told later
	PeerCommitTimeout   = 15 * time.Second // a call that ends in an fsync
	PeerIdleTimeout     = 30 * time.Second // no byte moved in a body between peers
	ClientIdleTimeout   = 60 * time.Second // no byte moved in a client's body
	ClientHeaderTimeout = 15 * time.Second // a client's whole header
	LingerTimeout       = 5 * time.Second  // that a refused client, who sends on, is given to see the answer
	StateUpdateTimeout  = 10 * time.Second // one Update of the replicated state, retries included
	ContainerCacheTTL   = 2 * time.Second  // how long a proxy trusts what it knows of a container
	ClockSkewS3Max      = 15 * time.Minute // a SigV4 request's date against ours
	PresignMax          = 7 * 24 * time.Hour
	ReclaimAge          = 7 * 24 * time.Hour // how long tombstones are kept
	AwayMax             = 6 * 24 * time.Hour // how long a device may have been away and still speak for what it holds
)

// Requests under way.
const (
	ClientRequestsMax   = 1024 // at one listener of a peer; more wait, then 503
	PasswordHashesMax   = 64   // waiting for the password hasher; more are 503
	ObjectsPerDeviceMax = 1 << 31
)
