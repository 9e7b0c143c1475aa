package core

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"henge/internal/clock"
	"henge/storaged/peerapi"
)

// Service is what the dialects use. It trusts its caller: names are valid, the user may do what is asked. All of it is safe for concurrent use.
//
// Kinds of errors: NotFound (container or object; see IsNoContainer), Exists, Conflict, Precondition, NoSpace, Unavailable (no quorum), Timeout, Incomplete and BadDigest
// (from the client's body), Corrupt.
type Service interface {
	// Account describes an account. One that was never written to is empty, and not an error: accounts come to be by themselves.
	Account(ctx context.Context, account string) (AccountInfo, error)
	// UpdateAccount merges metadata, by lower-case header name; "" removes. errs.NotFound when the account was deleted.
	UpdateAccount(ctx context.Context, account string, meta map[string]string) error
	// DeleteAccount deletes an account with all that is in it, which is removed later: nobody reads it any more. errs.NotFound when there is none.
	DeleteAccount(ctx context.Context, account string) error
	// ListContainers gives a page of an account's containers.
	ListContainers(ctx context.Context, account string, o ListOptions) (Listing, error)

	// Container describes a container; what it says is at most limits.ContainerCacheTTL old, but for its counts, which may be older. With fresh, it asks a quorum.
	Container(ctx context.Context, account, container string, fresh bool) (ContainerInfo, error)
	// PutContainer makes a container, or merges metadata into one that is there. made tells which.
	PutContainer(ctx context.Context, account, container string, p PutContainer) (made bool, err error)
	// UpdateContainer merges metadata; "" removes.
	UpdateContainer(ctx context.Context, account, container string, meta map[string]string) error
	// DeleteContainer deletes an empty container; errs.Conflict when it is not. Multipart uploads under way in it end with it.
	DeleteContainer(ctx context.Context, account, container string) error
	// ListObjects gives a page of a container's objects, merged from a quorum of replicas.
	ListObjects(ctx context.Context, account, container string, o ListOptions) (Listing, error)

	// Open finds the newest version that a quorum knows; expired objects and tombstones are errs.NotFound. The caller closes the Object.
	Open(ctx context.Context, ref Ref, o OpenOptions) (*Object, error)
	// OpenManifest gives one stream over the segments, for large objects that are put together on reading (DLO). size and etag come from the segments.
	OpenManifest(ctx context.Context, info Info, m Manifest) (*Object, error)
	// Put writes an object. See PutRequest.
	Put(ctx context.Context, ref Ref, p PutRequest) (Info, error)
	// PutManifest writes a large object whose bytes are the segments'. They are not read: the caller has checked them. p.Body is not used.
	PutManifest(ctx context.Context, ref Ref, p PutRequest, m Manifest) (Info, error)
	// UpdateMeta replaces an object's metadata, keeping its bytes. change is given the present version, and may be called more than once; its error is returned.
	UpdateMeta(ctx context.Context, ref Ref, change func(Info) (Metadata, error)) (Info, error)
	// Delete deletes an object: errs.NotFound if there was none. With check it is conditional, as in PutRequest.
	Delete(ctx context.Context, ref Ref, check Check) error
	// DeleteExpiring deletes an object whose DeleteAt is at, expired or not: errs.Precondition when it is another, errs.NotFound if there is no object.
	DeleteExpiring(ctx context.Context, ref Ref, at int64) error

	// CreateUpload begins a multipart upload; the object gets p's metadata when it is completed.
	CreateUpload(ctx context.Context, ref Ref, meta Metadata) (Upload, error)
	// FindUpload describes an upload; errs.NotFound if there is none.
	FindUpload(ctx context.Context, ref Ref, id string) (Upload, error)
	// PutPart writes a part, over one of the same number. Check is not used. errs.NotFound if there is no such upload.
	PutPart(ctx context.Context, ref Ref, id string, number int, p PutRequest) (Part, error)
	// ListParts gives parts by number, those after the given one, at most limit.
	ListParts(ctx context.Context, ref Ref, id string, after, limit int) (parts []Part, more bool, err error)
	// ListUploads gives the uploads under way in a container, by object name and then by id, those after the markers. Their Metadata is not filled in.
	ListUploads(ctx context.Context, account, container string, o ListUploadsOptions) (UploadListing, error)
	// CompleteUpload makes the object out of the parts named, without copying a byte. The caller has checked them against ListParts. Completing again with
	// the same parts gives the same answer, if the object is still that one.
	CompleteUpload(ctx context.Context, ref Ref, id string, c CompleteUpload) (Info, error)
	// AbortUpload ends an upload and gives its parts up.
	AbortUpload(ctx context.Context, ref Ref, id string) error

	// Policies are the storage policies, the default one first.
	Policies() []Policy
}

// Ref names an object.
type Ref struct {
	Account, Container, Object string
}

// Policy is a storage policy as clients see it.
type Policy struct {
	Index      uint8
	Name       string
	Aliases    []string // its other names
	Default    bool
	Deprecated bool
	Replicas   float64
	Coding     string // "4+2" of an erasure-coded policy; "": replicas
}

// Names are the policy's name and then its aliases.
func (p Policy) Names() []string { return append([]string{p.Name}, p.Aliases...) }

// Named tells whether name is the policy's name or one of its aliases, in any case.
func (p Policy) Named(name string) bool {
	return slices.ContainsFunc(p.Names(), func(s string) bool { return strings.EqualFold(s, name) })
}

// AccountInfo describes an account.
type AccountInfo struct {
	Exists                     bool      // something was written to it
	Deleted                    time.Time // when it was deleted with all that is in it; zero when it was not
	Timestamp                  clock.Timestamp
	Containers, Objects, Bytes int64
	Meta                       map[string]string // by lower-case header name
}

// ContainerInfo describes a container.
type ContainerInfo struct {
	Created        clock.Timestamp // X-Timestamp; S3's creation date
	Changed        clock.Timestamp // the newest change of its metadata
	Objects, Bytes int64
	Policy         Policy
	Meta           map[string]string // by lower-case header name: x-container-meta-..., x-container-read, ...; "sys-..." are the dialects' own, shown to nobody
}

// PutContainer is what PutContainer needs.
type PutContainer struct {
	Policy   string // a policy's name or alias; "" is the default (of a container that is there: any)
	Meta     map[string]string
	MustMake bool // errs.Exists when it is there already (decided by a quorum; two makers at once may both succeed)
}

// ListOptions choose a page, in Swift's words. Names compare by bytes.
type ListOptions struct {
	Marker    string // names after it
	EndMarker string // names before it
	Prefix    string
	Delimiter string // any length
	Limit     int    // entries, folders included
	Reverse   bool   // from the end; Marker and EndMarker change their parts
}

// Listing is a page.
type Listing struct {
	Entries []Entry
	More    bool   // there is more after it
	Next    string // the Marker that continues it
}

// Entry is an object or container, or a folder: all names that share the prefix Folder.
type Entry struct {
	Folder string // ends in the delimiter; when set, Row is empty
	peerapi.Row
}

// Info describes one version of an object.
type Info struct {
	Ref         Ref
	Timestamp   clock.Timestamp // X-Timestamp
	Modified    time.Time       // Last-Modified, whole seconds up as Swift rounds
	Size        int64
	ETag        string // without quotes
	ContentType string
	Meta        map[string]string // lower-case header names
	System      map[string]string // the dialects' own: S3 checksums and the like
	DeleteAt    int64
	Kind        peerapi.Kind
	Upload      string // the multipart upload that made it
	Policy      uint8
}

// Metadata is what a writer says of an object besides its bytes.
type Metadata struct {
	ContentType string
	Meta        map[string]string // lower-case header names
	System      map[string]string
	DeleteAt    int64
	ETag        string // "" is the MD5 of the bytes
	Kind        peerapi.Kind
}

// Check decides whether a write may go on, given what is there now (nil: nothing). It may be called several times; its error is returned as it is. The
// decision and the write are one: nothing comes between them (linearizable, also against plain writes).
type Check func(current *Info) error

// PutRequest is an object to be written.
type PutRequest struct {
	// Body is read to its end; its errors end the request (a verifying reader returns errs.BadDigest at the end, a short one errs.Incomplete).
	Body io.Reader
	// Size is how many bytes Body has, or -1. A Body of another size is errs.Incomplete.
	Size     int64
	Metadata Metadata
	// Finish, if set, is called when Body is read to its end and before anything becomes visible, with the MD5; it may still change the metadata or refuse.
	Finish func(md5Hex string, size int64, m *Metadata) error
	// Check, if set, makes the write conditional. It is also asked before Body is read, so that a refusal comes early.
	Check Check
}

// OpenOptions say what is going to be read.
type OpenOptions struct {
	HeadOnly bool // no bytes will be read
	Raw      bool // the manifest itself, not what it stands for
	Newest   bool // X-Newest: ask all replicas, not a quorum
}

// Object is an open object.
type Object struct {
	Info     Info
	Manifest *Manifest // of a large object; nil otherwise, and when opened Raw
	source   source
}

// source gives the bytes; the implementations are core's own.
type source interface {
	read(ctx context.Context, offset, length int64) (io.ReadCloser, error)
	close() error
}

// Read gives length bytes from offset (which lie within Info.Size). Each byte was checked. It may be called several times, for several ranges; close each.
func (o *Object) Read(ctx context.Context, offset, length int64) (io.ReadCloser, error) {
	return o.source.read(ctx, offset, length)
}

// Close ends the use of the object. It may be called twice.
func (o *Object) Close() error { return o.source.close() }

// Manifest lists what a large object is made of. Stored, as JSON, as the bytes of KindSLO and KindMultipart.
type Manifest struct {
	Format   int       `json:"format"` // 1
	Segments []Segment `json:"segments"`
}

// Segment is one piece: a range of an object (perhaps a manifest itself), or bytes given in place.
type Segment struct {
	Account   string `json:"account,omitempty"`
	Container string `json:"container,omitempty"`
	Object    string `json:"object,omitempty"`
	ETag      string `json:"etag,omitempty"`   // of the whole object; reading stops with errs.Conflict when it has changed
	Size      int64  `json:"size"`             // of the whole object
	Offset    int64  `json:"offset,omitempty"` // the range that counts
	Length    int64  `json:"length"`           //
	Part      int    `json:"part,omitempty"`   // S3's part number
	Checksum  string `json:"checksum,omitempty"`
	SLO       bool   `json:"slo,omitempty"` // it is a large object itself
	Data      []byte `json:"data,omitempty"`
	// Type and Modified are as Swift shows them for multipart-manifest=get.
	Type     string          `json:"type,omitempty"`
	Modified clock.Timestamp `json:"modified,omitempty"`
}

// Upload is a multipart upload under way.
type Upload struct {
	Ref       Ref
	ID        string
	Initiated time.Time
	Metadata  Metadata
}

// Part is an uploaded part.
type Part struct {
	Number   int
	Size     int64
	ETag     string
	Modified time.Time
	System   map[string]string // what PutPart's Metadata.System said
}

// CompleteUpload names the parts and the object's final metadata (Upload's, with what is known only now).
type CompleteUpload struct {
	Parts    []Part
	Metadata Metadata // ETag: MD5-of-MD5s-N, by the dialect
	Check    Check
}

// ListUploadsOptions choose a page of uploads, in S3's words.
type ListUploadsOptions struct {
	KeyMarker, UploadMarker, Prefix, Delimiter string
	Limit                                      int
}

// UploadListing is a page of uploads.
type UploadListing struct {
	Uploads         []Upload
	Folders         []string
	More            bool
	NextKey, NextID string
}
