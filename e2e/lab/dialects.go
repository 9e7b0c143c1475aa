package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"henge/e2e/history"
	"henge/e2e/lab/cloud"
)

// answer is a step's. Absent: a delete that found nothing, which S3 does not tell and Swift does.
type answer struct {
	history.Step
	Absent bool
}

// doer performs calls on one bucket through one peer.
type doer interface {
	Do(ctx context.Context, key string, s history.Step) answer
	Read(ctx context.Context, key string) (string, error)
	List(ctx context.Context, prefix string) ([]string, error)
	fmt.Stringer
	// can tells whether the dialect has the step's condition.
	can(s *history.Step) bool
}

// dialect makes doers.
type dialect interface {
	at(peer int, bucket string) doer
	// shapes are those of values that it can write.
	shapes() []string
}

type s3Dialect struct{ clients []*s3.Client }

func newS3Dialect(c *cloud.Cloud, transport http.RoundTripper) s3Dialect {
	var d s3Dialect
	for i := 1; i <= c.Peers(); i++ {
		d.clients = append(d.clients, s3.New(s3.Options{
			BaseEndpoint: aws.String(c.ObjectURL(i)), Region: c.Environment["AWS_DEFAULT_REGION"], UsePathStyle: true, RetryMaxAttempts: 1,
			Credentials: credentials.NewStaticCredentialsProvider(c.Environment["AWS_ACCESS_KEY_ID"], c.Environment["AWS_SECRET_ACCESS_KEY"], ""),
			HTTPClient:  &http.Client{Transport: transport},
		}))
	}
	return d
}

func (d s3Dialect) at(peer int, bucket string) doer {
	return s3Doer{history.Bucket{Client: d.clients[peer-1], Name: bucket}, peer}
}

func (s3Dialect) shapes() []string { return history.Shapes }

type s3Doer struct {
	history.Bucket
	peer int
}

func (b s3Doer) String() string { return fmt.Sprintf("S3, peer %d", b.peer) }

func (s3Doer) can(*history.Step) bool { return true }

// Do is doer's.
func (b s3Doer) Do(ctx context.Context, key string, s history.Step) answer {
	return answer{Step: b.Bucket.Do(ctx, key, s)}
}

// List is doer's.
func (b s3Doer) List(ctx context.Context, prefix string) ([]string, error) {
	var names []string
	pages := s3.NewListObjectsV2Paginator(b.Client, &s3.ListObjectsV2Input{Bucket: &b.Name, Prefix: &prefix, MaxKeys: aws.Int32(100)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, o := range page.Contents {
			names = append(names, *o.Key)
		}
	}
	return names, nil
}

// swiftDialect is Swift's API with a Keystone token.
type swiftDialect struct {
	cloud *cloud.Cloud
	http  *http.Client
	token string
	path  string // of the account
}

// newSwiftDialect logs in.
func newSwiftDialect(ctx context.Context, c *cloud.Cloud, transport http.RoundTripper) (*swiftDialect, error) {
	d := &swiftDialect{cloud: c, http: &http.Client{Transport: transport}}
	env := c.Environment
	body, err := json.Marshal(map[string]any{"auth": map[string]any{
		"identity": map[string]any{"methods": []string{"password"}, "password": map[string]any{
			"user": map[string]any{"name": env["OS_USERNAME"], "password": env["OS_PASSWORD"], "domain": map[string]string{"id": "default"}}}},
		"scope": map[string]any{"project": map[string]any{"name": env["OS_PROJECT_NAME"], "domain": map[string]string{"id": "default"}}},
	}})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.IdentityURL(1)+"/v3/auth/tokens", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := d.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var made struct {
		Token struct {
			Project struct {
				ID string `json:"id"`
			} `json:"project"`
		} `json:"token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&made); err != nil || resp.StatusCode != http.StatusCreated {
		return nil, fmt.Errorf("log in: %s, %w", resp.Status, err)
	}
	d.token, d.path = resp.Header.Get("X-Subject-Token"), "/v1/AUTH_"+made.Token.Project.ID
	return d, nil
}

func (d *swiftDialect) at(peer int, bucket string) doer { return swiftDoer{d, peer, bucket} }

func (*swiftDialect) shapes() []string { return []string{history.Small, history.Large} }

type swiftDoer struct {
	*swiftDialect
	peer   int
	bucket string
}

func (d swiftDoer) String() string { return fmt.Sprintf("Swift, peer %d", d.peer) }

// can is doer's: Swift's API decides If-None-Match: * for a PUT, and no other condition of a write.
func (d swiftDoer) can(s *history.Step) bool {
	return s.Match == "" || s.Kind == history.Put && s.Match == history.Nothing
}

// call gives status and body; status 0 when there was no whole answer.
func (d swiftDoer) call(ctx context.Context, method, path, body string, headers ...string) (int, string, error) {
	var in io.Reader
	if method == http.MethodPut {
		in = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, d.cloud.ObjectURL(d.peer)+d.path+path, in)
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("X-Auth-Token", d.token)
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := d.http.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, "", err
	}
	return resp.StatusCode, string(raw), nil
}

func (d swiftDoer) object(key string) string {
	return "/" + d.bucket + "/" + (&url.URL{Path: key}).EscapedPath()
}

// Do is doer's.
func (d swiftDoer) Do(ctx context.Context, key string, s history.Step) answer {
	switch s.Kind {
	case history.Get:
		found, err := d.Read(ctx, key)
		if errors.Is(err, history.ErrTorn) {
			return answer{Step: history.Step{Found: err.Error()}}
		}
		return answer{Step: history.Step{Found: found, Unknown: err != nil}}
	case history.Delete:
		status, _, _ := d.call(ctx, http.MethodDelete, d.object(key), "")
		return answer{Step: history.Step{Unknown: status/100 != 2 && status != http.StatusNotFound}, Absent: status == http.StatusNotFound}
	}
	var headers []string
	if s.Match == history.Nothing {
		headers = []string{"If-None-Match", "*"}
	}
	status, _, _ := d.call(ctx, http.MethodPut, d.object(key), history.Body(s.Value), headers...)
	return answer{Step: history.Step{Refused: status == http.StatusPreconditionFailed, Conflict: status == http.StatusConflict,
		Unknown: status/100 != 2 && status != http.StatusPreconditionFailed && status != http.StatusConflict}}
}

// Read is doer's.
func (d swiftDoer) Read(ctx context.Context, key string) (string, error) {
	status, body, err := d.call(ctx, http.MethodGet, d.object(key), "")
	switch {
	case err != nil:
		return "", err
	case status == http.StatusNotFound:
		return "", nil
	case status != http.StatusOK:
		return "", fmt.Errorf("GET %s: %d", key, status)
	}
	return history.Value(body)
}

// List is doer's.
func (d swiftDoer) List(ctx context.Context, prefix string) ([]string, error) {
	var names []string
	for {
		q := url.Values{"prefix": {prefix}, "limit": {"100"}}
		if len(names) > 0 {
			q.Set("marker", names[len(names)-1])
		}
		status, body, err := d.call(ctx, http.MethodGet, "/"+d.bucket+"?"+q.Encode(), "")
		switch {
		case err != nil:
			return nil, err
		case status == http.StatusNoContent || status == http.StatusOK && body == "":
			return names, nil
		case status != http.StatusOK:
			return nil, fmt.Errorf("list: %d", status)
		}
		names = append(names, strings.Split(strings.TrimSuffix(body, "\n"), "\n")...)
	}
}

// transport is what all clients of a run use.
func transport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost, t.Proxy, t.ResponseHeaderTimeout = 16, nil, callWait
	t.IdleConnTimeout = 10 * time.Second
	return t
}
