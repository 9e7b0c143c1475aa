package s3

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// elements are the texts of all elements of a name.
func (a answer) elements(name string) (texts []string) {
	for _, m := range regexp.MustCompile(`<`+name+`>([^<]*)</`+name+`>`).FindAllStringSubmatch(a.body, -1) {
		texts = append(texts, m[1])
	}
	return texts
}

// listing pages through a listing of version 1 or 2, or of versions, max-keys at a time.
func (w *world) listing(kind, query string, max int) (keys, folders []string) {
	w.t.Helper()
	next := ""
	for range 100 {
		a := w.call("GET", fmt.Sprintf("/b?%smax-keys=%d%s%s", kind, max, query, next), "")
		w.want(a, 200, "")
		page := a.elements("Key")
		var shared []string
		for _, p := range strings.Split(a.body, "<CommonPrefixes>")[1:] {
			shared = append(shared, answer{body: p}.element("Prefix"))
		}
		if len(page)+len(shared) > max {
			w.t.Fatalf("%d keys and %d folders, at most %d were asked for", len(page), len(shared), max)
		}
		keys, folders = append(keys, page...), append(folders, shared...)
		if a.element("IsTruncated") != "true" {
			return keys, folders
		}
		switch {
		case kind == "list-type=2&":
			next = "&continuation-token=" + url.QueryEscape(a.element("NextContinuationToken"))
			if a.element("KeyCount") != fmt.Sprint(len(page)+len(shared)) {
				w.t.Errorf("KeyCount is %s", a.element("KeyCount"))
			}
		case kind == "versions&":
			next = "&key-marker=" + url.QueryEscape(a.element("NextKeyMarker"))
		case strings.Contains(query, "delimiter"):
			next = "&marker=" + url.QueryEscape(a.element("NextMarker"))
		default:
			next = "&marker=" + url.QueryEscape(page[len(page)-1])
		}
	}
	w.t.Fatal("the listing does not end")
	return nil, nil
}

func TestList_PagesOfEverySize(t *testing.T) {
	w := newWorld(t, false)
	w.makeBucket("b")
	for _, k := range []string{"a", "b/1", "b/2", "b/c/3", "b/c/4", "b0", "c/", "c//d", "e"} {
		w.put("b", k, k)
	}
	for _, c := range []struct {
		query         string
		keys, folders []string
	}{
		{"", []string{"a", "b/1", "b/2", "b/c/3", "b/c/4", "b0", "c/", "c//d", "e"}, nil},
		{"&delimiter=/", []string{"a", "b0", "e"}, []string{"b/", "c/"}},
		{"&delimiter=/&prefix=b/", []string{"b/1", "b/2"}, []string{"b/c/"}},
		{"&delimiter=/&prefix=c/", []string{"c/"}, []string{"c//"}},
		{"&prefix=b", []string{"b/1", "b/2", "b/c/3", "b/c/4", "b0"}, nil},
		{"&delimiter=c/", []string{"a", "b/1", "b/2", "b0", "e"}, []string{"b/c/", "c/"}},
		{"&prefix=none", nil, nil},
	} {
		for _, kind := range []string{"list-type=2&", "", "versions&"} {
			for max := 1; max < 11; max += 3 {
				keys, folders := w.listing(kind, c.query, max)
				if !slices.Equal(keys, c.keys) || !slices.Equal(folders, c.folders) {
					t.Errorf("%s%s by %d: %v and %v, want %v and %v", kind, c.query, max, keys, folders, c.keys, c.folders)
				}
			}
		}
	}
}

func TestList_Parameters(t *testing.T) {
	w := newWorld(t, false)
	w.makeBucket("b")
	w.put("b", "a b+&<\x01ä", "x")
	w.put("b", "z", "x")
	for query, code := range map[string]string{"max-keys=-1": "InvalidArgument", "max-keys=x": "InvalidArgument", "max-keys=": "InvalidArgument", "encoding-type=base64": "InvalidArgument",
		"list-type=3": "InvalidArgument", "list-type=2&continuation-token=nonsense": "InvalidArgument", "list-type=2&continuation-token=": "InvalidArgument", "prefix=%ff": "InvalidArgument",
		"max-keys=99999": "", "max-keys=99999999999": "InvalidArgument", "prefix=a&prefix=b": "InvalidArgument", "uploads&max-uploads=-1": "InvalidArgument", "list-type=2&marker=a": "NotImplemented"} {
		if a := w.call("GET", "/b?"+query, ""); a.code() != code {
			t.Errorf("%s: %d %s", query, a.status, a.body)
		}
	}
	if a := w.call("GET", "/b?max-keys=99999", ""); a.element("MaxKeys") != "1000" {
		t.Errorf("MaxKeys is %s", a.element("MaxKeys"))
	}
	if a := w.call("GET", "/b?list-type=2&max-keys=0", ""); a.element("KeyCount") != "0" || a.element("IsTruncated") != "false" {
		t.Errorf("no keys: %s", a.body)
	}
	w.want(w.call("GET", "/none?max-keys=0", ""), 404, "NoSuchBucket")
	w.want(w.call("GET", "/none?list-type=2", ""), 404, "NoSuchBucket")
	a := w.call("GET", "/b?encoding-type=url&list-type=2&fetch-owner=true&start-after=a", "")
	if keys := a.elements("Key"); len(keys) != 2 || keys[0] != "a%20b%2B%26%3C%01%C3%A4" || a.element("DisplayName") != "demo" {
		t.Errorf("encoded: %s", a.body)
	}
	a = w.call("GET", "/b?list-type=2", "")
	if keys := a.elements("Key"); len(keys) != 2 || keys[0] != "a b+&amp;&lt;&#x1;ä" || a.element("DisplayName") != "" {
		t.Errorf("not encoded: %s", a.body)
	}
	if a := w.call("GET", "/b?list-type=2&start-after=b", ""); len(a.elements("Key")) != 1 {
		t.Errorf("start-after: %s", a.body)
	}
	put := w.call("PUT", "/b/z", "other")
	if a := w.call("GET", "/b?prefix=z", ""); "&quot;"+strings.Trim(put.header.Get("ETag"), `"`)+"&quot;" != a.element("ETag") || a.element("ChecksumAlgorithm") != "CRC64NVME" ||
		a.element("LastModified")[19:] != ".000Z" {
		t.Errorf("listed as %s", a.body)
	}
}

func TestBuckets_Names(t *testing.T) {
	w := newWorld(t, false)
	for name, ok := range map[string]bool{"abc": true, "a-b.c": true, "ab": false, "Abc": false, "a_b": false, "-abc": false, "abc.": false, "a..b": false, "192.168.0.1": false,
		"xn--abc": false, "abc-s3alias": false, strings.Repeat("a", 63): true, strings.Repeat("a", 64): false} {
		a := w.call("PUT", "/"+name, "")
		if ok && a.status != 200 || !ok && a.code() != "InvalidBucketName" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	w.makeBucket("Swift's own_Name")
	w.want(w.call("PUT", "/Swift%27s%20own_Name/k", "x"), 200, "")
	if a := w.call("GET", "/", ""); !slices.Contains(a.elements("Name"), "Swift's own_Name") {
		t.Errorf("what Swift made is not listed: %s", a.body)
	}
	if a := w.call("GET", "/?max-buckets=1&prefix=a", ""); a.element("ContinuationToken") == "" || len(a.elements("Name")) != 1 {
		t.Errorf("a page of buckets: %s", a.body)
	}
	if a := w.call("GET", "/?bucket-region=mars-1", ""); len(a.elements("Name")) != 0 {
		t.Errorf("buckets of another region: %s", a.body)
	}
	w.want(w.call("GET", "/?max-buckets=0", ""), 400, "InvalidArgument")
	w.want(w.call("GET", "/?max-buckets=10001", ""), 400, "InvalidArgument")
	if a := w.call("GET", "/abc?location", ""); !strings.Contains(a.body, "<LocationConstraint") || a.element("LocationConstraint") != "" {
		t.Errorf("location: %s", a.body)
	}
}

// What was never configured answers as on a bucket of Amazon's where it never was.
func TestBuckets_Configuration(t *testing.T) {
	w := newWorld(t, false)
	w.makeBucket("b")
	w.put("b", "k", "x")
	for sub, code := range map[string]string{"policy": "NoSuchBucketPolicy", "policyStatus": "NoSuchBucketPolicy", "lifecycle": "NoSuchLifecycleConfiguration", "tagging": "NoSuchTagSet", "cors": "NoSuchCORSConfiguration",
		"website": "NoSuchWebsiteConfiguration", "encryption": "ServerSideEncryptionConfigurationNotFoundError", "object-lock": "ObjectLockConfigurationNotFoundError",
		"publicAccessBlock": "NoSuchPublicAccessBlockConfiguration", "replication": "ReplicationConfigurationNotFoundError"} {
		w.want(w.call("GET", "/b?"+sub, ""), 404, code)
		w.want(w.call("GET", "/none?"+sub, ""), 404, "NoSuchBucket")
	}
	for sub, want := range map[string]string{"versioning": "<VersioningConfiguration", "logging": "<BucketLoggingStatus", "notification": "<NotificationConfiguration", "accelerate": "<AccelerateConfiguration",
		"requestPayment": "<Payer>BucketOwner", "ownershipControls": "BucketOwnerEnforced", "acl": "<Permission>FULL_CONTROL"} {
		if a := w.call("GET", "/b?"+sub, ""); a.status != 200 || !strings.Contains(a.body, want) {
			t.Errorf("%s: %d %s", sub, a.status, a.body)
		}
		w.want(w.call("GET", "/none?"+sub, ""), 404, "NoSuchBucket")
	}
	for _, sub := range []string{"policy", "lifecycle", "tagging", "cors", "website", "encryption", "publicAccessBlock", "replication", "ownershipControls"} {
		w.want(w.call("DELETE", "/b?"+sub, ""), 204, "")
	}
	for sub, want := range map[string]int{"acl": 200, "tagging": 200, "retention": 400, "legal-hold": 400} {
		if a := w.call("GET", "/b/k?"+sub, ""); a.status != want {
			t.Errorf("object %s: %d %s", sub, a.status, a.body)
		}
		w.want(w.call("GET", "/b/none?"+sub, ""), 404, "NoSuchKey")
	}
	w.want(w.call("PUT", "/b?acl", "", "x-amz-acl", "private"), 200, "")
	w.want(w.call("PUT", "/b/k?acl", "", "x-amz-acl", "private"), 200, "")
	w.want(w.call("PUT", "/b/k?acl", ""), 400, "MissingSecurityHeader")
	own := w.call("GET", "/b/k?acl", "").body
	w.want(w.call("PUT", "/b/k?acl", own), 200, "")
	w.want(w.call("PUT", "/b/k?acl", strings.Replace(own, "<ID>project</ID><DisplayName>demo</DisplayName></Grantee>", "<URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee>", 1)), 501, "NotImplemented")
	if info := w.info("b", "k"); info == nil || info.Size != 1 {
		t.Errorf("the object is %+v", info)
	}
}
