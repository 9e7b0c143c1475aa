package s3

import "testing"

func TestCreateBucket_StoragePolicy(t *testing.T) {
	w := newWorld(t, false)
	create := func(name, location string, headers ...string) answer {
		body := ""
		if location != "" {
			body = "<CreateBucketConfiguration><LocationConstraint>" + location + "</LocationConstraint></CreateBucketConfiguration>"
		}
		return w.call("PUT", "/"+name, body, headers...)
	}
	w.want(create("bucket-a", ":second"), 200, "")
	w.want(create("bucket-b", "us-east-1:PLAN-B"), 200, "")
	w.want(create("bucket-c", "", "X-Storage-Policy", "second"), 200, "")
	w.want(create("bucket-d", "us-east-1"), 200, "")
	for name, want := range map[string]string{"bucket-a": "second", "bucket-b": "second", "bucket-c": "second", "bucket-d": "standard"} {
		info, err := w.core.Container(t.Context(), testAccount, name, true)
		if err != nil || info.Policy.Name != want {
			t.Errorf("%s: %q, %v", name, info.Policy.Name, err)
		}
	}
	w.want(create("bucket-e", ":none"), 400, "InvalidLocationConstraint")
	w.want(create("bucket-e", ":old"), 400, "InvalidLocationConstraint")
	w.want(create("bucket-e", "mars:second"), 400, "InvalidLocationConstraint")
	w.want(create("bucket-e", ":second", "X-Storage-Policy", "standard"), 400, "InvalidArgument")
}
