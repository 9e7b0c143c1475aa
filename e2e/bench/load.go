package main

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	signer "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"henge/e2e/henged"
)

// load is one kind of operation.
type load struct {
	name    string
	prepare func(ctx context.Context) error
	// do performs the n-th operation, and tells how many bytes of body it moved.
	do func(ctx context.Context, n int64) (int64, error)
	// most bounds the number of operations (0: time alone does); unit is what one operation counts as.
	most int64
	unit float64
}

type result struct {
	rate, mib, p50, p99, cpu, written float64
	errors                            int64
}

func (l *load) measure(ctx context.Context, cloud *henged.Cloud, concurrency int, length time.Duration) (result, error) {
	if l.prepare != nil {
		if err := l.prepare(ctx); err != nil {
			return result{}, fmt.Errorf("prepare: %w", err)
		}
	}
	before, err := usageOf(cloud.PIDs())
	if err != nil {
		return result{}, err
	}
	var next, moved, failed atomic.Int64
	var firstErr atomic.Value
	var mu sync.Mutex // guards times
	var times []time.Duration
	start := time.Now()
	var wg sync.WaitGroup
	for range concurrency {
		wg.Go(func() {
			var mine []time.Duration
			for time.Since(start) < length && ctx.Err() == nil {
				n := next.Add(1) - 1
				if l.most > 0 && n >= l.most {
					break
				}
				begun := time.Now()
				bytes, err := l.do(ctx, n)
				if err != nil {
					failed.Add(1)
					firstErr.CompareAndSwap(nil, err.Error())
					continue
				}
				moved.Add(bytes)
				mine = append(mine, time.Since(begun))
			}
			mu.Lock()
			defer mu.Unlock()
			times = append(times, mine...)
		})
	}
	wg.Wait()
	took := time.Since(start)
	after, err := usageOf(cloud.PIDs())
	if err != nil {
		return result{}, err
	}
	if len(times) == 0 {
		return result{}, fmt.Errorf("nothing succeeded: %v", firstErr.Load())
	}
	slices.Sort(times)
	units := float64(len(times)) * l.unit
	return result{
		rate: float64(len(times)) / took.Seconds(), mib: float64(moved.Load()) / (1 << 20) / took.Seconds(),
		p50: ms(times[len(times)/2]), p99: ms(times[len(times)*99/100]),
		cpu: ms(after.cpu-before.cpu) / units, written: float64(after.written-before.written) / 1024 / units, errors: failed.Load(),
	}, nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// client speaks S3 with as little of its own as can be: the two cores are shared with the servers that are measured.
type client struct {
	http  *http.Client
	urls  []string
	creds aws.Credentials
	sign  *signer.Signer
}

func newClient(cloud *henged.Cloud, peers int) *client {
	c := &client{
		http:  &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}},
		creds: aws.Credentials{AccessKeyID: cloud.Environment["AWS_ACCESS_KEY_ID"], SecretAccessKey: cloud.Environment["AWS_SECRET_ACCESS_KEY"]},
		sign:  signer.NewSigner(func(o *signer.SignerOptions) { o.DisableURIPathEscaping = true }),
	}
	for i := range peers {
		c.urls = append(c.urls, cloud.ObjectURL(i+1))
	}
	return c
}

// request sends one signed request and reads the answer to its end, checking its MD5 when whole is what it should be.
func (c *client) request(ctx context.Context, n int64, method, path string, body, whole []byte) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.urls[n%int64(len(c.urls))]+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	req.Header.Set("X-Amz-Content-Sha256", hash)
	if method == http.MethodPut && len(body) > 0 {
		digest := md5.Sum(body)
		req.Header.Set("Content-MD5", base64.StdEncoding.EncodeToString(digest[:]))
	}
	if err := c.sign.SignHTTP(ctx, c.creds, req, hash, "s3", "us-east-1", time.Now()); err != nil {
		return 0, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 2000))
		return 0, fmt.Errorf("%s %s: %s %s", method, path, resp.Status, text)
	}
	got := md5.New()
	size, err := io.Copy(got, resp.Body)
	if err != nil {
		return 0, err
	}
	if whole != nil {
		want := md5.Sum(whole)
		if !bytes.Equal(got.Sum(nil), want[:]) {
			return 0, fmt.Errorf("%s %s: the bytes are not those that were written", method, path)
		}
	}
	return size + int64(len(body)), nil
}

func loads(cloud *henged.Cloud, peers int) []*load {
	c := newClient(cloud, peers)
	small, large := bytes.Repeat([]byte("henge 4K"), 512), bytes.Repeat([]byte("henge 10 MiB ..."), 10<<20/16)
	var smalls, larges atomic.Int64 // how many of each were written
	simple := func(method, format string, body, whole []byte, count *atomic.Int64) func(context.Context, int64) (int64, error) {
		return func(ctx context.Context, n int64) (int64, error) {
			if count != nil && body == nil {
				n %= max(count.Load(), 1)
			}
			size, err := c.request(ctx, n, method, fmt.Sprintf(format, n), body, whole)
			if err == nil && count != nil && body != nil {
				count.Add(1)
			}
			return size, err
		}
	}
	deletes := &load{name: "DELETE 4 KiB", unit: 1, do: simple(http.MethodDelete, "/bench/small/%08d", nil, nil, nil)}
	deletes.prepare = func(context.Context) error { deletes.most = smalls.Load(); return nil }
	return []*load{
		{name: "PUT 4 KiB", unit: 1, do: simple(http.MethodPut, "/bench/small/%08d", small, nil, &smalls), prepare: func(ctx context.Context) error {
			_, err := c.request(ctx, 0, http.MethodPut, "/bench", nil, nil)
			return err
		}},
		{name: "GET 4 KiB", unit: 1, do: simple(http.MethodGet, "/bench/small/%08d", nil, small, &smalls)},
		{name: "HEAD", unit: 1, do: simple(http.MethodHead, "/bench/small/%08d", nil, nil, &smalls)},
		{name: "LIST 1000 (per key)", unit: 1000, do: func(ctx context.Context, n int64) (int64, error) {
			after := n * 1000 % max(smalls.Load()-1000, 1)
			return c.request(ctx, n, http.MethodGet, fmt.Sprintf("/bench?list-type=2&max-keys=1000&start-after=small%%2F%08d", after), nil, nil)
		}},
		deletes,
		{name: "PUT 10 MiB", unit: 1, most: 200, do: simple(http.MethodPut, "/bench/large/%08d", large, nil, &larges)},
		{name: "GET 10 MiB", unit: 1, do: simple(http.MethodGet, "/bench/large/%08d", nil, large, &larges)},
	}
}
