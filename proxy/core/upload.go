package core

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/storaged/peerapi"
)

// Multipart uploads live in an account that no dialect lets clients name. Each container that has uploads has a container there, of the same storage policy, with
//
//	"u" KEY 00 ID                    for each upload under way; its bytes are the object's metadata to be
//	"p" KEY 00 ID 00 NUMBER 00 TIME  for each part that was uploaded; one uploaded again has a name of its own
//
// so that nothing an object is made of is ever overwritten, and the names alone tell what belongs to what. Of a completed upload only the parts remain.
const (
	uploadAccount = ".multipart"
	uploadPrefix  = "u"
	partPrefix    = "p"
	nul           = "\x00"
	afterUploads  = nul + "g" // behind all ids, which are hex
)

func uploadContainer(account, container string) string {
	return strconv.Itoa(len(account)) + "|" + account + "|" + container
}

// uploadOwner undoes uploadContainer.
func uploadOwner(name string) (account, container string, ok bool) {
	digits, rest, ok := strings.Cut(name, "|")
	n, err := strconv.Atoi(digits)
	if !ok || err != nil || n < 0 || n >= len(rest) || rest[n] != '|' {
		return "", "", false
	}
	return rest[:n], rest[n+1:], true
}

func uploadRef(ref Ref, id string) Ref {
	return Ref{uploadAccount, uploadContainer(ref.Account, ref.Container), uploadPrefix + ref.Object + nul + id}
}

func partsPrefix(ref Ref, id string) string { return partPrefix + ref.Object + nul + id + nul }

// newUploadID begins with the time, so that ids sort by it.
func (c *Core) newUploadID() string {
	var chance [8]byte
	rand.Read(chance[:]) // never fails
	return fmt.Sprintf("%016x", int64(c.clock.Next())) + hex.EncodeToString(chance[:])
}

func validUploadID(id string) bool {
	raw, err := hex.DecodeString(id)
	return err == nil && len(raw) == 16
}

func initiated(id string) time.Time {
	n, err := strconv.ParseInt(id[:min(16, len(id))], 16, 64)
	if err != nil {
		return time.Time{}
	}
	return clock.Timestamp(n).Time()
}

func noUpload(ref Ref, id string) error {
	return errs.New(errs.NotFound, "no upload %s of %s/%s/%s", id, ref.Account, ref.Container, ref.Object)
}

// uploadsHere makes sure of the container that holds another's uploads.
func (c *Core) uploadsHere(ctx context.Context, ref Ref) error {
	info, err := c.findContainer(ctx, ref.Account, ref.Container, false)
	if err != nil {
		return err
	}
	name := uploadContainer(ref.Account, ref.Container)
	if _, err := c.findContainer(ctx, uploadAccount, name, false); !IsNoContainer(err) {
		return err
	}
	p, err := c.policy(info.Policy)
	if err != nil {
		return err
	}
	_, err = c.PutContainer(ctx, uploadAccount, name, PutContainer{Policy: p.Name})
	return err
}

// CreateUpload begins a multipart upload.
func (c *Core) CreateUpload(ctx context.Context, ref Ref, meta Metadata) (Upload, error) {
	if err := c.uploadsHere(ctx, ref); err != nil {
		return Upload{}, err
	}
	raw, err := json.Marshal(meta)
	if err != nil {
		return Upload{}, err
	}
	id := c.newUploadID()
	_, err = c.Put(ctx, uploadRef(ref, id), PutRequest{Body: strings.NewReader(string(raw)), Size: int64(len(raw))})
	if err != nil {
		return Upload{}, err
	}
	return Upload{Ref: ref, ID: id, Initiated: initiated(id), Metadata: meta}, nil
}

// FindUpload describes an upload.
func (c *Core) FindUpload(ctx context.Context, ref Ref, id string) (Upload, error) {
	if !validUploadID(id) {
		return Upload{}, noUpload(ref, id)
	}
	if _, err := c.findContainer(ctx, ref.Account, ref.Container, false); err != nil {
		return Upload{}, err
	}
	o, err := c.Open(ctx, uploadRef(ref, id), OpenOptions{})
	if errs.Is(err, errs.NotFound) {
		return Upload{}, noUpload(ref, id)
	}
	if err != nil {
		return Upload{}, err
	}
	defer o.Close()
	r, err := o.Read(ctx, 0, o.Info.Size)
	if err != nil {
		return Upload{}, err
	}
	raw, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return Upload{}, err
	}
	up := Upload{Ref: ref, ID: id, Initiated: initiated(id)}
	if err := json.Unmarshal(raw, &up.Metadata); err != nil {
		return Upload{}, errs.New(errs.Corrupt, "decode upload %s: %w", id, err)
	}
	return up, nil
}

// underWay tells whether an upload is neither completed nor aborted.
func (c *Core) underWay(ctx context.Context, ref Ref, id string) error {
	if !validUploadID(id) {
		return noUpload(ref, id)
	}
	if _, err := c.findContainer(ctx, ref.Account, ref.Container, false); err != nil {
		return err
	}
	_, err := c.Open(ctx, uploadRef(ref, id), OpenOptions{HeadOnly: true})
	if errs.Is(err, errs.NotFound) {
		return noUpload(ref, id)
	}
	return err
}

// PutPart writes a part.
func (c *Core) PutPart(ctx context.Context, ref Ref, id string, number int, p PutRequest) (Part, error) {
	if err := c.underWay(ctx, ref, id); err != nil {
		return Part{}, err
	}
	at := Ref{uploadAccount, uploadContainer(ref.Account, ref.Container),
		fmt.Sprintf("%s%05d%s%016x", partsPrefix(ref, id), number, nul, int64(c.clock.Next()))}
	w, err := c.begin(ctx, at)
	if err != nil {
		return Part{}, err
	}
	finish, system := p.Finish, p.Metadata.System
	p.Check = nil
	p.Finish = func(md5Hex string, size int64, m *Metadata) error {
		if finish != nil {
			if err := finish(md5Hex, size, m); err != nil {
				return err
			}
		}
		system = m.System
		raw, err := json.Marshal(system)
		// The listing of parts shows a part's content type, and nothing else that could hold this.
		*m = Metadata{ContentType: string(raw), ETag: m.ETag}
		return err
	}
	info, err := c.putIn(ctx, at, w, p)
	if err != nil {
		return Part{}, err
	}
	// The upload may have ended meanwhile; then nobody would ever look for this part again.
	if err := c.underWay(ctx, ref, id); err != nil {
		if errs.Is(err, errs.NotFound) {
			err = errors.Join(err, c.deleteIn(ctx, at, w, nil))
			return Part{}, errs.With(errs.NotFound, err)
		}
		return Part{}, err
	}
	return Part{Number: number, Size: info.Size, ETag: info.ETag, Modified: info.Modified, System: system}, nil
}

// storedPart is a part with the name of the object that holds it.
type storedPart struct {
	Part
	name string
}

// storedParts gives all versions of the parts of an upload, in order of number and then time, those after a number.
func (c *Core) storedParts(ctx context.Context, ref Ref, id string, after int, yield func(storedPart) bool) error {
	prefix := partsPrefix(ref, id)
	o := ListOptions{Prefix: prefix, Limit: pagesMax, Marker: prefix}
	if after > 0 {
		o.Marker = fmt.Sprintf("%s%05d%s", prefix, after, afterUploads)
	}
	for {
		page, err := c.ListObjects(ctx, uploadAccount, uploadContainer(ref.Account, ref.Container), o)
		if IsNoContainer(err) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, e := range page.Entries {
			digits, _, _ := strings.Cut(e.Name[len(prefix):], nul)
			n, err := strconv.Atoi(digits)
			if err != nil {
				return errs.New(errs.Corrupt, "part name %q", e.Name)
			}
			p := storedPart{name: e.Name, Part: Part{Number: n, Size: e.Size, ETag: e.ETag, Modified: modified(e.Timestamp)}}
			if err := json.Unmarshal([]byte(e.ContentType), &p.System); err != nil {
				return errs.New(errs.Corrupt, "decode what is kept with part %d of upload %s: %w", n, id, err)
			}
			if !yield(p) {
				return nil
			}
		}
		if !page.More {
			return nil
		}
		o.Marker = page.Next
	}
}

// ListParts gives parts by number.
func (c *Core) ListParts(ctx context.Context, ref Ref, id string, after, limit int) ([]Part, bool, error) {
	if err := c.underWay(ctx, ref, id); err != nil {
		return nil, false, err
	}
	var parts []Part
	err := c.storedParts(ctx, ref, id, after, func(p storedPart) bool {
		if n := len(parts); n > 0 && parts[n-1].Number == p.Number {
			parts[n-1] = p.Part // uploaded again
			return true
		}
		parts = append(parts, p.Part)
		return len(parts) <= limit
	})
	if err != nil {
		return nil, false, err
	}
	if len(parts) > limit {
		return parts[:limit], true, nil
	}
	return parts, false, nil
}

// ListUploads gives the uploads under way in a container. Their Metadata is not filled in: FindUpload has it.
func (c *Core) ListUploads(ctx context.Context, account, container string, o ListUploadsOptions) (UploadListing, error) {
	if _, err := c.findContainer(ctx, account, container, false); err != nil {
		return UploadListing{}, err
	}
	var out UploadListing
	lo := ListOptions{Prefix: uploadPrefix + o.Prefix, Limit: min(max(o.Limit, 0)+1, pagesMax)}
	if o.KeyMarker != "" {
		lo.Marker = uploadPrefix + o.KeyMarker + afterUploads
		if o.UploadMarker != "" {
			lo.Marker = uploadPrefix + o.KeyMarker + nul + o.UploadMarker
		}
	}
	for {
		page, err := c.ListObjects(ctx, uploadAccount, uploadContainer(account, container), lo)
		if IsNoContainer(err) {
			return out, nil
		}
		if err != nil {
			return UploadListing{}, err
		}
		for _, e := range page.Entries {
			i := strings.LastIndex(e.Name, nul)
			key, id := e.Name[len(uploadPrefix):i], e.Name[i+1:]
			folder := ""
			if o.Delimiter != "" {
				if k := strings.Index(key[len(o.Prefix):], o.Delimiter); k >= 0 {
					folder = key[:len(o.Prefix)+k+len(o.Delimiter)]
				}
			}
			if n := len(out.Folders); folder != "" && (n > 0 && out.Folders[n-1] == folder || strings.HasPrefix(o.KeyMarker, folder)) {
				continue
			}
			if len(out.Uploads)+len(out.Folders) >= o.Limit {
				out.More = true
				return out, nil
			}
			if folder != "" {
				out.Folders = append(out.Folders, folder)
				out.NextKey, out.NextID = folder, ""
				continue
			}
			out.Uploads = append(out.Uploads, Upload{Ref: Ref{account, container, key}, ID: id, Initiated: initiated(id)})
			out.NextKey, out.NextID = key, id
		}
		if !page.More {
			return out, nil
		}
		lo.Marker = page.Next
	}
}

// CompleteUpload makes the object out of the parts named.
func (c *Core) CompleteUpload(ctx context.Context, ref Ref, id string, cu CompleteUpload) (Info, error) {
	if !validUploadID(id) {
		return Info{}, noUpload(ref, id)
	}
	w, err := c.begin(ctx, ref)
	if err != nil {
		return Info{}, err
	}
	if info, done, err := c.completed(ctx, ref, id, cu); done || err != nil {
		if done && err == nil {
			err = c.endUpload(ctx, ref, id, reasonCompleted)
		}
		return info, err
	}
	if err := c.underWay(ctx, ref, id); err != nil {
		return Info{}, err
	}
	m, err := c.assemble(ctx, ref, id, cu.Parts)
	if err != nil {
		return Info{}, err
	}
	if cu.Check != nil {
		if err := c.early(ctx, ref, w, cu.Check); err != nil {
			return Info{}, err
		}
	}
	cu.Metadata.Kind = peerapi.KindMultipart
	info, err := c.putManifest(ctx, ref, w, PutRequest{Metadata: cu.Metadata, Check: cu.Check}, m, id)
	if err != nil {
		return Info{}, err
	}
	info.Upload = id
	return info, c.endUpload(ctx, ref, id, reasonCompleted)
}

// completed tells whether the object is already what this completion would make of it.
func (c *Core) completed(ctx context.Context, ref Ref, id string, cu CompleteUpload) (Info, bool, error) {
	o, err := c.Open(ctx, ref, OpenOptions{})
	if errs.Is(err, errs.NotFound) {
		return Info{}, false, nil
	}
	if err != nil {
		return Info{}, false, err
	}
	defer o.Close()
	if o.Info.Upload != id || o.Manifest == nil || len(o.Manifest.Segments) != len(cu.Parts) {
		return Info{}, false, nil
	}
	for i, s := range o.Manifest.Segments {
		if s.Part != cu.Parts[i].Number || s.ETag != cu.Parts[i].ETag {
			return Info{}, false, nil
		}
	}
	return o.Info, true, nil
}

// assemble finds the parts named. One that was uploaded again may be named by any of its ETags; the last of those counts.
func (c *Core) assemble(ctx context.Context, ref Ref, id string, parts []Part) (Manifest, error) {
	m := Manifest{Segments: make([]Segment, len(parts))}
	wanted := make(map[int]int, len(parts))
	for i, p := range parts {
		if i > 0 && p.Number <= parts[i-1].Number {
			return m, errs.New(errs.Invalid, "part %d comes after part %d", p.Number, parts[i-1].Number)
		}
		wanted[p.Number] = i
	}
	err := c.storedParts(ctx, ref, id, 0, func(p storedPart) bool {
		if i, ok := wanted[p.Number]; ok && p.ETag == parts[i].ETag {
			m.Segments[i] = Segment{
				Account: uploadAccount, Container: uploadContainer(ref.Account, ref.Container), Object: p.name,
				ETag: p.ETag, Size: p.Size, Length: p.Size, Part: p.Number, Checksum: parts[i].checksum(p.System),
			}
		}
		return true
	})
	if err != nil {
		return m, err
	}
	for i, s := range m.Segments {
		if s.Object == "" {
			return m, errs.New(errs.Invalid, "part %d with ETag %q was not uploaded", parts[i].Number, parts[i].ETag)
		}
	}
	return m, nil
}

// checksum is what the manifest keeps of a part's own values, so that they can be shown when the parts are gone: JSON, or "" when there are none.
func (p Part) checksum(system map[string]string) string {
	if len(system) == 0 {
		return ""
	}
	raw, err := json.Marshal(system)
	if err != nil {
		return ""
	}
	return string(raw)
}

// endUpload forgets an upload, and sees to its parts that belong to no object.
func (c *Core) endUpload(ctx context.Context, ref Ref, id, reason string) error {
	if err := c.reapLater(ctx, ref, id, reason); err != nil {
		return err
	}
	err := c.Delete(ctx, uploadRef(ref, id), nil)
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	return err
}

// AbortUpload ends an upload and gives its parts up.
func (c *Core) AbortUpload(ctx context.Context, ref Ref, id string) error {
	if err := c.underWay(ctx, ref, id); err != nil {
		return err
	}
	return c.endUpload(ctx, ref, id, reasonAborted)
}

// endUploads ends all uploads of a container that is gone.
func (c *Core) endUploads(ctx context.Context, account, container string) error {
	o := ListOptions{Prefix: uploadPrefix, Limit: pagesMax}
	if account == uploadAccount {
		return nil
	}
	for {
		page, err := c.ListObjects(ctx, uploadAccount, uploadContainer(account, container), o)
		if IsNoContainer(err) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, e := range page.Entries {
			i := strings.LastIndex(e.Name, nul)
			if err := c.endUpload(ctx, Ref{account, container, e.Name[len(uploadPrefix):i]}, e.Name[i+1:], reasonAborted); err != nil {
				return err
			}
		}
		if !page.More {
			return nil
		}
		o.Marker = page.Next
	}
}
