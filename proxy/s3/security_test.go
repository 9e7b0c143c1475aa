package s3

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"henge/internal/limits"
	"henge/proxy/core"
	"henge/proxy/s3/sigv4"
)

// The lessons of others, each as a test.

// A truncated aws-chunked body once made a server loop for ever (CVE-2026-49017). Here the connection is cut in the midst of a chunk.
func TestSecurity_ConnectionCutInAChunk(t *testing.T) {
	w := newWorld(t, false)
	w.makeBucket("b")
	for _, payload := range []string{sigv4.StreamingSigned, sigv4.UnsignedPayload} {
		r := w.request("member", "PUT", "/b/k", "", "payload", payload, "X-Amz-Decoded-Content-Length", "1000")
		conn, err := net.Dial("tcp", w.server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "PUT /b/k HTTP/1.1\r\nHost: %s\r\nContent-Length: 2000\r\n", r.Host)
		r.Header.Del("Content-Length")
		_ = r.Header.Write(conn)
		fmt.Fprintf(conn, "\r\n3e8;chunk-signature=%064d\r\nhello", 0)
		_ = conn.(*net.TCPConn).CloseWrite()
		resp, err := http.ReadResponse(bufio.NewReader(conn), r)
		if err != nil {
			t.Fatalf("%s: %v", payload, err)
		}
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != 400 || !strings.Contains(string(body), "IncompleteBody") {
			t.Errorf("%s: %d %s", payload, resp.StatusCode, body)
		}
		_ = conn.Close()
		if w.info("b", "k") != nil {
			t.Fatal("half an object is there")
		}
	}
}

// Headers of other families, which once let clients steer the peers behind (CVE-2026-50221), never reach core.
func TestSecurity_ControlHeadersAreDropped(t *testing.T) {
	w := newWorld(t, false)
	w.makeBucket("b")
	w.want(w.call("PUT", "/b/k", "x", "X-Backend-Storage-Policy-Index", "1", "X-Object-Sysmeta-Slo-Etag", "e", "X-Object-Meta-Swift", "s", "X-Object-Manifest", "other/secret",
		"X-Delete-At", "1", "X-Container-Host", "10.0.0.1:80", "X-Container-Partition", "1", "X-Timestamp", "1", "X-Static-Large-Object", "true", "X-Symlink-Target", "a/b"), 200, "")
	info := w.info("b", "k")
	if info == nil || len(info.Meta) != 0 || info.DeleteAt != 0 {
		t.Errorf("stored %+v", info)
	}
}

func TestSecurity_WhatIsNotDoneIsRefused(t *testing.T) {
	w := newWorld(t, false)
	w.makeBucket("b")
	w.put("b", "k", "old")
	for _, header := range []string{"x-amz-server-side-encryption", "x-amz-server-side-encryption-customer-algorithm", "x-amz-object-lock-mode",
		"x-amz-object-lock-legal-hold", "x-amz-object-lock-retain-until-date", "x-amz-tagging", "x-amz-website-redirect-location", "x-amz-grant-read",
		"x-amz-grant-full-control", "x-amz-write-offset-bytes", "x-amz-something-new", "x-amz-bypass-governance-retention", "x-amz-mfa"} {
		w.want(w.call("PUT", "/b/k", "new", header, "value"), 501, "NotImplemented")
		w.want(w.call("DELETE", "/b/k", "", header, "value"), 501, "NotImplemented")
	}
	w.want(w.call("GET", "/b/k", "", "x-amz-server-side-encryption-customer-key", "k"), 501, "NotImplemented")
	w.want(w.call("PUT", "/b/k", "new", "x-amz-acl", "public-read"), 501, "NotImplemented")
	w.want(w.call("PUT", "/b/k", "new", "x-amz-storage-class", "GLACIER"), 400, "InvalidStorageClass")
	w.want(w.call("PUT", "/b/k", "new", "x-amz-expected-bucket-owner", "another"), 403, "AccessDenied")
	w.want(w.call("GET", "/b/k", "", "x-amz-expected-bucket-owner", "another"), 403, "AccessDenied")
	w.want(w.call("PUT", "/new-bucket", "", "x-amz-bucket-object-lock-enabled", "true"), 501, "NotImplemented")
	if a := w.call("GET", "/b/k", ""); a.body != "old" {
		t.Errorf("a refused request changed the object to %q", a.body)
	}
	w.want(w.call("PUT", "/b/k", "new", "x-amz-acl", "private", "x-amz-storage-class", "STANDARD", "x-amz-expected-bucket-owner", "project", "x-amz-request-payer", "requester",
		"x-amz-meta-server-side-encryption", "a name like another"), 200, "")
}

// An unknown sub-resource is never taken for none: PUT ?tagging must not overwrite the object.
func TestSecurity_UnknownSubResources(t *testing.T) {
	w := newWorld(t, false)
	w.makeBucket("b")
	w.put("b", "k", "old")
	for _, sub := range []string{"tagging", "retention", "legal-hold", "torrent", "restore", "select", "renameObject", "annotation", "nonsense", "nonsense=1", "Uploads", "uploadid=x&partNumber=1", "partNumber=1", "versions", "policy", "encryption"} {
		for _, method := range []string{"PUT", "POST"} {
			if a := w.call(method, "/b/k?"+sub, "new"); a.status != 501 {
				t.Errorf("%s object ?%s: %d %s", method, sub, a.status, a.body)
			}
		}
	}
	for _, sub := range []string{"tagging", "policy", "lifecycle", "cors", "website", "encryption", "versioning", "object-lock", "publicAccessBlock", "replication", "logging", "notification",
		"accelerate", "requestPayment", "ownershipControls", "inventory&id=1", "metrics&id=1", "analytics&id=1", "intelligent-tiering&id=1", "metadataTable", "abac", "nonsense"} {
		if a := w.call("PUT", "/b?"+sub, "<x/>"); a.status != 501 {
			t.Errorf("PUT bucket ?%s: %d %s", sub, a.status, a.body)
		}
		w.want(w.call("PUT", "/fresh-bucket?"+sub, "<x/>"), 501, "NotImplemented")
	}
	for _, sub := range []string{"nonsense", "inventory&id=1", "metadataTable", "session", "abac", "select&select-type=2"} {
		if a := w.call("GET", "/b?"+sub, ""); a.status != 501 {
			t.Errorf("GET bucket ?%s: %d", sub, a.status)
		}
		if a := w.call("DELETE", "/b?"+sub, ""); a.status != 501 {
			t.Errorf("DELETE bucket ?%s: %d", sub, a.status)
		}
		if a := w.call("DELETE", "/b/k?"+sub, ""); a.status != 501 {
			t.Errorf("DELETE object ?%s: %d", sub, a.status)
		}
	}
	if a := w.call("GET", "/b/k?x-id=GetObject&x-anything=goes", ""); a.body != "old" {
		t.Errorf("the object is %q", a.body)
	}
}

func TestSecurity_WhoMayDoWhat(t *testing.T) {
	w := newWorld(t, false)
	w.makeBucket("b")
	w.put("b", "k", "x")
	for access, c := range map[string]struct{ read, write, buckets int }{
		"member": {200, 200, 200}, "reader": {200, 403, 200}, "reselleradmin": {200, 200, 200}, "nobody": {403, 403, 403}, "stranger": {404, 404, 200}, "unscoped": {403, 403, 403}, "unknown": {403, 403, 403}, "offline": {503, 503, 503},
	} {
		if a := w.callAs(access, "GET", "/b/k", ""); a.status != c.read {
			t.Errorf("%s reads: %d %s", access, a.status, a.body)
		}
		if a := w.callAs(access, "PUT", "/b/new", "x"); a.status != c.write {
			t.Errorf("%s writes: %d %s", access, a.status, a.body)
		}
		if a := w.callAs(access, "GET", "/", ""); a.status != c.buckets || strings.Contains(a.body, "<Name>b</Name>") != (c.buckets == 200 && access != "stranger") {
			t.Errorf("%s lists: %d %s", access, a.status, a.body)
		}
	}
	w.want(w.fetch("GET", w.server.URL+"/b/k", ""), 403, "AccessDenied")
	w.want(w.fetch("OPTIONS", w.server.URL+"/b/k", ""), 403, "AccessForbidden")
	if a := w.callAs("unknown", "GET", "/b/k", ""); a.code() != "InvalidAccessKeyId" {
		t.Errorf("unknown key: %s", a.body)
	}
}

// core keeps uploads in an account of its own; no path leads there, whatever it is called.
func TestSecurity_OtherAccountsAreOutOfReach(t *testing.T) {
	w := newWorld(t, false)
	if _, err := w.core.PutContainer(t.Context(), ".multipart", "b", core.PutContainer{}); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/.multipart/b", "/../.multipart/b/k", "/b/../../.multipart/b"} {
		if a := w.call("GET", path, ""); a.status != 404 && a.status != 400 {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	w.makeBucket("b")
	w.want(w.call("PUT", "/b/k", "", "x-amz-copy-source", "/../.multipart/k"), 404, "NoSuchBucket")
}

func TestSecurity_XMLBombs(t *testing.T) {
	w := newWorld(t, false)
	w.makeBucket("b")
	post := func(body string) answer {
		return w.call("POST", "/b?delete", body, "x-amz-checksum-crc32", sumText(1, body))
	}
	for name, body := range map[string]string{
		"empty":       "",
		"no XML":      "hello",
		"another":     "<CompleteMultipartUpload/>",
		"unclosed":    "<Delete><Object>",
		"two roots":   "<Delete/><Delete/>",
		"entities":    `<!DOCTYPE a [<!ENTITY b "bbbb">]><Delete><Object><Key>&b;</Key></Object></Delete>`,
		"deep":        strings.Repeat("<Delete>", 10_000) + strings.Repeat("</Delete>", 10_000),
		"no objects":  "<Delete></Delete>",
		"no key":      "<Delete><Object></Object></Delete>",
		"many":        "<Delete>" + strings.Repeat("<Object><Key>k</Key></Object>", limits.MultiDeleteMax+1) + "</Delete>",
		"huge":        "<Delete>" + strings.Repeat(" ", limits.ManifestBytesMax) + "</Delete>",
		"not UTF-8":   "<Delete><Object><Key>\xff\xfe</Key></Object></Delete>",
		"other names": "<Delete><Object><Key>k</Key></Object></Deleted>",
	} {
		if a := post(body); a.status != 400 {
			t.Errorf("%s: %d %.200s", name, a.status, a.body)
		}
	}
	w.want(w.call("PUT", "/bucket2", "<CreateBucketConfiguration>"), 400, "MalformedXML")
	w.want(w.call("PUT", "/bucket2", "<CreateBucketConfiguration>"+strings.Repeat(" ", limits.RequestBodyBytesMax)+"</CreateBucketConfiguration>"), 400, "MalformedXML")
	w.want(w.call("PUT", "/bucket2", "<CreateBucketConfiguration><LocationConstraint>mars</LocationConstraint></CreateBucketConfiguration>"), 400, "InvalidLocationConstraint")
	w.want(w.call("PUT", "/bucket2", `<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><LocationConstraint>us-east-1</LocationConstraint></CreateBucketConfiguration>`), 200, "")
}

// 100-continue goes out when the body is first read, and that is after the signature was checked.
func TestSecurity_NoContinueBeforeTheSignature(t *testing.T) {
	w := newWorld(t, false)
	w.makeBucket("b")
	for access, want := range map[string]string{"member": "100 Continue", "unknown": "403 Forbidden", "reader": "403 Forbidden"} {
		r := w.request(access, "PUT", "/b/k", "", "payload", sigv4.UnsignedPayload)
		conn, err := net.Dial("tcp", w.server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Del("Content-Length")
		fmt.Fprintf(conn, "PUT /b/k HTTP/1.1\r\nHost: %s\r\nContent-Length: 5\r\nExpect: 100-continue\r\n", r.Host)
		_ = r.Header.Write(conn)
		fmt.Fprint(conn, "\r\n")
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil || !strings.Contains(line, want) {
			t.Errorf("%s: %q, %v", access, line, err)
		}
		_ = conn.Close()
	}
}

func TestSecurity_Sizes(t *testing.T) {
	w := newWorld(t, false)
	w.makeBucket("b")
	w.want(w.call("PUT", "/b/"+strings.Repeat("k", 1024), "x"), 200, "")
	w.want(w.call("PUT", "/b/"+strings.Repeat("k", 1025), "x"), 400, "KeyTooLongError")
	w.want(w.call("PUT", "/b/"+strings.Repeat("%C3%A4", 513), "x"), 400, "KeyTooLongError")
	w.want(w.call("PUT", "/b/%FF%FE", "x"), 400, "InvalidURI")
	w.want(w.call("PUT", "/b/a%00b", "x"), 400, "InvalidURI")
	w.want(w.call("GET", "/"+strings.Repeat("b", 300)+"/k", ""), 400, "InvalidBucketName")
	w.want(w.call("PUT", "/b/k", "x", "x-amz-meta-a", strings.Repeat("v", 2047)), 200, "")
	w.want(w.call("PUT", "/b/k", "x", "x-amz-meta-a", strings.Repeat("v", 2048)), 400, "MetadataTooLarge")
	// A body of more than 5 GiB is refused by what it announces, and of no announced length because it might be.
	w.want(w.call("PUT", "/b/k", "x", "payload", sigv4.StreamingUnsignedTrailer, "x-amz-decoded-content-length", "5368709121"), 400, "EntityTooLarge")
	r := w.request("member", "PUT", "/b/k", "", "payload", sigv4.UnsignedPayload)
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader("x")), -1
	w.want(w.send(r), 411, "MissingContentLength")
}
