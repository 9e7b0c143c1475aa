package swift_test

import (
	"strings"
	"testing"

	"henge/proxy/core"
)

// What S3 uploaded in parts is one plain object here.
func TestMultipartOfS3(t *testing.T) {
	w := newWorld(t)
	w.fill("c")
	ctx, ref := t.Context(), core.Ref{Account: "AUTH_p1", Container: "c", Object: "big"}
	meta := core.Metadata{ContentType: "text/x", Meta: map[string]string{"x-object-meta-color": "blue"}, System: map[string]string{"s3-checksum": "secret"}}
	up, err := w.core.CreateUpload(ctx, ref, meta)
	if err != nil {
		t.Fatal(err)
	}
	complete := core.CompleteUpload{Metadata: meta}
	complete.Metadata.ETag = "0123456789abcdef0123456789abcdef-2"
	for i, s := range []string{"hello ", "world"} {
		part, err := w.core.PutPart(ctx, ref, up.ID, i+1, core.PutRequest{Size: -1, Body: strings.NewReader(s)})
		if err != nil {
			t.Fatal(err)
		}
		complete.Parts = append(complete.Parts, part)
	}
	if _, err := w.core.CompleteUpload(ctx, ref, up.ID, complete); err != nil {
		t.Fatal(err)
	}
	get := w.ok("GET", account+"/c/big", "", 200)
	get.wantsBody(t, "hello world")
	get.wants(t, "Etag", `"0123456789abcdef0123456789abcdef-2"`, "X-Static-Large-Object", "True", "X-Object-Meta-Color", "blue", "Content-Type", "text/x",
		"S3-Checksum", "-", "X-Manifest-Etag", "-")
	// Its parts are nobody else's: rclone asks for the segments before it deletes a large object.
	w.ok("GET", account+"/c/big?multipart-manifest=get", "", 200).wantsBody(t, "[]")
	w.ok("GET", account+"/c/big", "", 206, "Range", "bytes=4-7").wantsBody(t, "o wo")
	list := w.ok("GET", account+"/c?format=json", "", 200).body
	if !strings.Contains(list, `"hash": "0123456789abcdef0123456789abcdef-2"`) || strings.Contains(list, "slo_etag") {
		t.Errorf("listed as %s", list)
	}
	// It can be a segment, and be copied.
	w.ok("PUT", account+"/c/slo?multipart-manifest=put", `[{"path":"/c/big","range":"6-"}]`, 201)
	w.ok("GET", account+"/c/slo", "", 200).wantsBody(t, "world")
	w.ok("COPY", account+"/c/big", "", 201, "Destination", "c/copy").wants(t, "Etag", md5Hex("hello world"))
	w.ok("DELETE", account+"/c/big?multipart-manifest=delete", "", 200).wantsBody(t,
		"Number Deleted: 1\nNumber Not Found: 0\nResponse Body: \nResponse Status: 200 OK\nErrors:\n")
}
