package swift_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"mime/multipart"
	"strings"
	"testing"
	"time"
)

// post sends a form with the fields in order, and files "f1", "f2", ... of the contents.
func (w *world) post(path string, fields [][2]string, files ...string) *answer {
	w.t.Helper()
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	for _, f := range fields {
		if err := m.WriteField(f[0], f[1]); err != nil {
			w.t.Fatal(err)
		}
	}
	for i, content := range files {
		part, err := m.CreateFormFile("file", fmt.Sprintf("f%d.txt", i+1))
		if err != nil {
			w.t.Fatal(err)
		}
		if _, err := part.Write([]byte(content)); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := m.Close(); err != nil {
		w.t.Fatal(err)
	}
	return w.do("POST", path, "", &b, "Content-Type", m.FormDataContentType())
}

func TestForm(t *testing.T) {
	w := newWorld(t)
	w.fill("c")
	w.ok("POST", account, "", 204, "X-Account-Meta-Temp-Url-Key", "key")
	path := account + "/c/up/"
	expires := epoch.Add(time.Minute).Unix()
	fields := func(redirect string, size, count int, sig string) [][2]string {
		if sig == "" {
			sig = hex.EncodeToString(sign(sha256.New, "key", fmt.Sprintf("%s\n%s\n%d\n%d\n%d", path, redirect, size, count, expires)))
		}
		return [][2]string{{"redirect", redirect}, {"max_file_size", fmt.Sprint(size)}, {"max_file_count", fmt.Sprint(count)}, {"expires", fmt.Sprint(expires)},
			{"signature", sig}, {"x_delete_after", "30"}}
	}
	if a := w.post(path, fields("", 5, 2, ""), "hello", "x"); a.StatusCode != 201 {
		t.Fatalf("answered %s %q", a.Status, a.body)
	}
	w.ok("GET", account+"/c", "", 200).wantsBody(t, "up/f1.txt\nup/f2.txt\n")
	w.ok("GET", account+"/c/up/f1.txt", "", 200).wants(t, "X-Delete-At", fmt.Sprint(epoch.Unix()+30), "Content-Type", "application/octet-stream")

	a := w.post(path, fields("http://me.example/done?x=1", 5, 2, ""), "one")
	if a.StatusCode != 303 || a.Header.Get("Location") != "http://me.example/done?x=1&message=&status=201" {
		t.Errorf("answered %s to %q", a.Status, a.Header.Get("Location"))
	}
	a = w.post(path, fields("http://me.example/done", 2, 2, ""), "too big")
	if a.StatusCode != 303 || a.Header.Get("Location") != "http://me.example/done?message=Max_File_Size+Exceeded&status=413" {
		t.Errorf("answered %s to %q", a.Status, a.Header.Get("Location"))
	}
	b64 := base64.StdEncoding.EncodeToString(sign(sha512.New, "key", fmt.Sprintf("%s\n\n5\n1\n%d", path, expires)))
	for name, c := range map[string]struct {
		fields [][2]string
		files  []string
		code   int
		text   string
	}{
		"base64":          {fields("", 5, 1, "sha512:"+b64), []string{"x"}, 201, ""},
		"too many":        {fields("", 5, 1, ""), []string{"x", "y"}, 400, "FormPost: Max File Count Exceeded"},
		"too big":         {fields("", 2, 1, ""), []string{"big"}, 413, "FormPost: Max_File_Size Exceeded"},
		"no file":         {fields("", 2, 1, ""), nil, 400, "FormPost: No Files To Process"},
		"bad signature":   {fields("", 5, 1, strings.Repeat("ab", 32)), []string{"x"}, 401, "FormPost: Invalid Signature"},
		"no open redirec": {fields("http://evil", 5, 1, strings.Repeat("ab", 32)), []string{"x"}, 401, "FormPost: Invalid Signature"},
		"no number":       {[][2]string{{"max_file_size", "x"}}, []string{"x"}, 400, "FormPost: Max_File_Size Not An Integer"},
		"expired":         {[][2]string{{"expires", "1"}}, []string{"x"}, 401, "FormPost: Form Expired"},
		"long field":      {[][2]string{{"a", strings.Repeat("x", 5000)}}, []string{"x"}, 400, "FormPost: Too Many Or Too Long Fields"},
	} {
		if a := w.post(path, c.fields, c.files...); a.StatusCode != c.code || !strings.Contains(a.body, c.text) {
			t.Errorf("%s: answered %s %q, want %d %q", name, a.Status, a.body, c.code, c.text)
		}
	}
	if a := w.do("POST", path, "member", strings.NewReader("junk"), "Content-Type", "multipart/form-data; boundary=x"); a.StatusCode != 400 {
		t.Errorf("junk: %s", a.Status)
	}
}

func TestQuotas(t *testing.T) {
	w := newWorld(t)
	w.ok("PUT", account+"/c", "", 400, "X-Container-Meta-Quota-Bytes", "lots").wantsBody(t, "Invalid bytes quota.")
	w.ok("PUT", account+"/c", "", 201, "X-Container-Meta-Quota-Bytes", "10", "X-Container-Meta-Quota-Count", "3")
	w.ok("PUT", account+"/c/a", "hello", 201)
	w.ok("PUT", account+"/c/b", "hello!", 413).wantsBody(t, "Upload exceeds quota.")
	w.ok("COPY", account+"/c/a", "", 201, "Destination", "c/b")
	w.ok("COPY", account+"/c/a", "", 413, "Destination", "c/d")
	w.ok("PUT", account+"/c/d?multipart-manifest=put", `[{"path":"/c/a"}]`, 413)
	w.ok("PUT", account+"/c/e", "", 201)
	w.ok("PUT", account+"/c/f", "", 413)

	w.ok("PUT", account+"/d", "", 201)
	w.ok("POST", account, "", 403, "X-Account-Meta-Quota-Bytes", "12")
	w.ok("POST", account, "", 403, "X-Remove-Account-Meta-Quota-Bytes", "x")
	w.as("reseller", "POST", account, "", 400, "X-Account-Meta-Quota-Bytes", "x")
	w.as("reseller", "POST", account, "", 204, "X-Account-Meta-Quota-Bytes", "12")
	w.ok("PUT", account+"/d/a", "abc", 413).wantsBody(t, "Upload exceeds quota.")
	w.as("reseller", "PUT", account+"/d/b", "abc", 201) // is not bound by it
	w.ok("DELETE", account+"/c/b", "", 204)
	w.ok("PUT", account+"/d/a", "abc", 201)
	w.as("reseller", "POST", account, "", 204, "X-Remove-Account-Meta-Quota-Bytes", "x")
	w.ok("PUT", account+"/d/c", "a lot more than that", 201)
}
