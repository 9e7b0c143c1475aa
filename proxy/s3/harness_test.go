package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"henge/identity/authn"
	"henge/internal/clock"
	"henge/internal/errs"
	"henge/internal/httpapi"
	"henge/proxy/core"
	"henge/proxy/core/coretest"
)

const (
	testRegion    = "us-east-1"
	testRequestID = "tx0123456789abcdef01234-0123456789"
	testAccount   = "AUTH_project"
)

// testKeys has a key for each role; its name is the access key and "secret-"+name the secret.
type testKeys struct{}

func (testKeys) Key(_ context.Context, access string) (string, *authn.Identity, error) {
	id := &authn.Identity{ProjectID: "project", ProjectName: "demo", Roles: []string{access}}
	switch access {
	case "member", "reader", "reselleradmin", "nobody":
	case "stranger":
		id.ProjectID, id.Roles = "other", []string{"member"}
	case "unscoped":
		id.ProjectID, id.Roles = "", []string{"admin"}
	case "offline":
		return "", nil, errs.New(errs.Unavailable, "no identity")
	default:
		return "", nil, errs.New(errs.Unauthenticated, "no key %q", access)
	}
	return "secret-" + access, id, nil
}

// world is a server with its store, and a client of it.
type world struct {
	t      testing.TB
	core   *coretest.Memory
	server *httptest.Server
	client *awss3.Client
	tls    bool
}

func newWorld(t testing.TB, tls bool) *world {
	t.Helper()
	w := &world{t: t, core: coretest.New(clock.System{}), tls: tls}
	handler := New(Config{Core: w.core, Keys: testKeys{}, Domains: []string{"s3.example.org"}})
	outer := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(rw, r.WithContext(httpapi.WithRequestID(r.Context(), testRequestID)))
	})
	w.server = httptest.NewUnstartedServer(outer)
	if tls {
		w.server.StartTLS()
	} else {
		w.server.Start()
	}
	t.Cleanup(w.server.Close)
	w.client = w.clientOf("member")
	return w
}

func (w *world) clientOf(access string, change ...func(*awss3.Options)) *awss3.Client {
	o := awss3.Options{
		BaseEndpoint: aws.String(w.server.URL), Region: testRegion, UsePathStyle: true, HTTPClient: w.server.Client(),
		Credentials: credentials.NewStaticCredentialsProvider(access, "secret-"+access, ""), RetryMaxAttempts: 1,
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported, ResponseChecksumValidation: aws.ResponseChecksumValidationWhenSupported, // as loaded from a configuration
	}
	return awss3.New(o, change...)
}

func (w *world) makeBucket(name string) {
	w.t.Helper()
	if _, err := w.core.PutContainer(w.t.Context(), testAccount, name, core.PutContainer{}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) put(bucket, key, body string) core.Info {
	w.t.Helper()
	info, err := w.core.Put(w.t.Context(), core.Ref{Account: testAccount, Container: bucket, Object: key},
		core.PutRequest{Body: strings.NewReader(body), Size: int64(len(body)), Metadata: core.Metadata{ContentType: "text/plain"}})
	if err != nil {
		w.t.Fatal(err)
	}
	return info
}

// info is what core has of an object; nil for none.
func (w *world) info(bucket, key string) *core.Info {
	w.t.Helper()
	o, err := w.core.Open(w.t.Context(), core.Ref{Account: testAccount, Container: bucket, Object: key}, core.OpenOptions{HeadOnly: true})
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	if err != nil {
		w.t.Fatal(err)
	}
	defer o.Close()
	return &o.Info
}

// answer is an answer, read whole.
type answer struct {
	status int
	header http.Header
	body   string
}

// code is the error code in the body.
func (a answer) code() string { return a.element("Code") }

// element is the text of the first element of a name.
func (a answer) element(name string) string {
	_, rest, _ := strings.Cut(a.body, "<"+name+">")
	text, _, _ := strings.Cut(rest, "</"+name+">")
	return text
}

// call is one signed request: headers are pairs. A header "payload" says what x-amz-content-sha256 is to be; the SHA-256 of the body if it is missing.
func (w *world) call(method, target, body string, headers ...string) answer {
	w.t.Helper()
	return w.callAs("member", method, target, body, headers...)
}

func (w *world) callAs(access, method, target, body string, headers ...string) answer {
	w.t.Helper()
	return w.send(w.request(access, method, target, body, headers...))
}

func (w *world) request(access, method, target, body string, headers ...string) *http.Request {
	w.t.Helper()
	sum := sha256.Sum256([]byte(body))
	payload := hex.EncodeToString(sum[:])
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.server.URL+target, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		switch headers[i] {
		case "payload":
			payload = headers[i+1]
		case "host":
			r.Host = headers[i+1]
		default:
			r.Header.Add(headers[i], headers[i+1])
		}
	}
	r.Header.Set("X-Amz-Content-Sha256", payload)
	creds := aws.Credentials{AccessKeyID: access, SecretAccessKey: "secret-" + access}
	err = v4.NewSigner().SignHTTP(w.t.Context(), creds, r, payload, "s3", testRegion, time.Now(), func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) send(r *http.Request) answer {
	w.t.Helper()
	resp, err := w.server.Client().Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := io.Copy(&b, resp.Body); err != nil {
		w.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, b.String()}
}

// want checks an answer's status and error code.
func (w *world) want(a answer, status int, code string) {
	w.t.Helper()
	if a.status != status || a.code() != code {
		w.t.Errorf("answer %d %q, want %d %q: %s", a.status, a.code(), status, code, a.body)
	}
}
