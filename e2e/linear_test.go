package e2e

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"henge/e2e/henged"
)

// step is one call on a key: what was asked, and what was answered.
type step struct {
	kind  string // get, put, delete
	value string // of a put
	match string // the value that must be there ("*" in noneMatch form: nothing may be there)
	// answers
	found   string // of a get: the value, "" when there was none
	refused bool   // the condition did not hold
	unknown bool   // no answer that says what happened
	// conflict: another write decided; this one did not happen
	conflict bool
}

// register is an object's key as a client may rely on it: one value, changed whole, conditions decided at the same moment.
var register = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		now, s, a := state.(string), input.(step), output.(step)
		holds := s.match == "" || (s.match == "*" && now == "") || (s.match != "*" && s.match == now)
		switch {
		case s.kind == "get":
			return a.unknown || a.found == now, now
		case a.unknown:
			// It happened or it did not: an unknown answer returns at the end of time, so that porcupine may also put it there.
			if !holds {
				return true, now
			}
		case a.refused:
			return !holds, now
		case !holds:
			return false, now
		}
		if s.kind == "delete" {
			return true, ""
		}
		return true, s.value
	},
	Equal: func(a, b any) bool { return a == b },
	DescribeOperation: func(input, output any) string {
		return fmt.Sprintf("%+v -> %+v", input, output)
	},
}

// TestConditionalWrites_AreLinearizable runs plain and conditional writes (small, large, completions of uploads), deletes and reads of few keys through three peers
// while others are killed.
func TestConditionalWrites_AreLinearizable(t *testing.T) {
	c := ownCloud(t, henged.Options{Peers: 4, Devices: 1, Args: []string{"--restart"}})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if _, err := awsClient(c, 1).CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("linear")}); err != nil {
		t.Fatal(err)
	}
	const keys, clients, steps = 4, 6, 150
	h := &history{start: time.Now(), ops: make([][]porcupine.Operation, keys)}
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 7))
			for n := range steps {
				h.run(c, i, 1+random.IntN(3), random.IntN(keys), fmt.Sprintf("%d-%d", i, n), random)
			}
		})
	}
	go func() { // kills peer 4, again and again as it comes back
		tick := time.NewTicker(2 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				_ = c.KillPeer(4) // it may be dead already
			}
		}
	}()
	wg.Wait()
	cancel()
	for key, ops := range h.ops {
		result := porcupine.CheckOperationsTimeout(register, ops, time.Minute)
		if result != porcupine.Ok {
			t.Errorf("key %d, %d operations: %v", key, len(ops), result)
			for _, op := range ops {
				t.Logf("%v .. %v client %d: %s", time.Duration(op.Call), time.Duration(op.Return), op.ClientId, register.DescribeOperation(op.Input, op.Output))
			}
		}
	}
	t.Logf("%d answered, %d of them refused, %d unknown", h.answered, h.refused, h.unknown)
	if h.answered < clients*steps/2 || h.refused == 0 {
		t.Error("too little happened for the check to mean anything")
	}
}

type history struct {
	start time.Time

	mu                         sync.Mutex // guards the fields below
	ops                        [][]porcupine.Operation
	answered, refused, unknown int
}

// run performs one random step and records it.
func (h *history) run(c *henged.Cloud, clientID, peer, key int, value string, random *rand.Rand) {
	// One try a call: a retry by the SDK would be a second operation.
	s3c := s3.New(awsClient(c, peer).Options(), func(o *s3.Options) { o.RetryMaxAttempts = 1 })
	name := fmt.Sprintf("key-%d", key)
	s := step{kind: []string{"get", "put", "put", "put", "delete"}[random.IntN(5)], value: shapes[random.IntN(len(shapes))] + value}
	call := time.Since(h.start)
	if s.kind != "get" {
		switch random.IntN(3) {
		case 0:
			s.match = "*"
		case 1:
			// What is there now is the likeliest to match; reading it is an operation of its own, but need not be recorded.
			s.match, _ = read(s3c, name)
			call = time.Since(h.start)
		}
		if s.kind == "delete" && s.match == "*" {
			s.match = ""
		}
	}
	answer := perform(s3c, name, s)
	end := time.Since(h.start)
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case answer.unknown && s.kind == "get", answer.conflict:
		return // says nothing
	case answer.unknown:
		h.unknown++
		end = time.Hour
	default:
		h.answered++
		if answer.refused {
			h.refused++
		}
	}
	h.ops[key] = append(h.ops[key], porcupine.Operation{ClientId: clientID, Input: s, Output: answer, Call: int64(call), Return: int64(end)})
}

func perform(c *s3.Client, key string, s step) step {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var err error
	switch s.kind {
	case "get":
		found, err := read(c, key)
		if errors.Is(err, errTorn) {
			return step{found: err.Error()} // no history allows it
		}
		return step{found: found, unknown: err != nil}
	case "put":
		if strings.HasPrefix(s.value, inParts) {
			err = putInParts(ctx, c, key, s)
			break
		}
		in := &s3.PutObjectInput{Bucket: aws.String("linear"), Key: &key, Body: strings.NewReader(bodyOf(s.value))}
		in.IfMatch, in.IfNoneMatch = s.condition()
		_, err = c.PutObject(ctx, in)
	case "delete":
		in := &s3.DeleteObjectInput{Bucket: aws.String("linear"), Key: &key}
		if s.match != "" {
			in.IfMatch = aws.String(etag(s.match))
		}
		_, err = c.DeleteObject(ctx, in)
	}
	switch code(err) {
	case "PreconditionFailed", "NoSuchKey":
		return step{refused: true}
	}
	var api smithy.APIError
	if errors.Is(err, errNotBegun) || errors.As(err, &api) && api.ErrorCode() == "ConditionalRequestConflict" {
		// It certainly did not happen, and says nothing of the condition: as if it had never been called.
		return step{conflict: true}
	}
	return step{unknown: err != nil}
}

// The shapes of a value, as its first letters: each is stored in another way.
const (
	small   = "small-"  // in one record
	large   = "large-"  // in a file of its own, streamed
	inParts = "parts-"  // a multipart upload, made visible by its completion
	padding = 200 << 10 // bytes that make a value large
)

var shapes = []string{small, large, inParts}

// bodyOf is what is stored for a value.
func bodyOf(value string) string {
	if strings.HasPrefix(value, small) {
		return value
	}
	return value + "\n" + strings.Repeat(value, padding/len(value))
}

// valueOf is the value that a body stands for; an error if it is none that was ever written.
func valueOf(body string) (string, error) {
	value, _, _ := strings.Cut(body, "\n")
	if body != bodyOf(value) {
		return "", fmt.Errorf("%w: %d bytes that begin with %.40q", errTorn, len(body), body)
	}
	return value, nil
}

var errTorn = errors.New("this was never written")

// etag is what S3 calls the ETag of a value.
func etag(value string) string {
	sum := md5.Sum([]byte(bodyOf(value)))
	if strings.HasPrefix(value, inParts) {
		return fmt.Sprintf(`"%x-1"`, md5.Sum(sum[:]))
	}
	return fmt.Sprintf(`"%x"`, sum)
}

// condition is the step's, as If-Match and If-None-Match.
func (s step) condition() (match, noneMatch *string) {
	switch s.match {
	case "":
		return nil, nil
	case "*":
		return nil, aws.String("*")
	}
	return aws.String(etag(s.match)), nil
}

// errNotBegun: the upload ended before anything asked for it to be completed.
var errNotBegun = errors.New("the upload was not completed")

func putInParts(ctx context.Context, c *s3.Client, key string, s step) error {
	up, err := c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: aws.String("linear"), Key: &key})
	if err != nil {
		return fmt.Errorf("%w: %w", errNotBegun, err)
	}
	part, err := c.UploadPart(ctx, &s3.UploadPartInput{Bucket: aws.String("linear"), Key: &key, UploadId: up.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader(bodyOf(s.value))})
	if err != nil {
		return fmt.Errorf("%w: %w", errNotBegun, err)
	}
	in := &s3.CompleteMultipartUploadInput{Bucket: aws.String("linear"), Key: &key, UploadId: up.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{ETag: part.ETag, PartNumber: aws.Int32(1)}}}}
	in.IfMatch, in.IfNoneMatch = s.condition()
	_, err = c.CompleteMultipartUpload(ctx, in)
	return err
}

// read gives the value of a key, "" when there is none.
func read(c *s3.Client, key string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	got, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("linear"), Key: &key})
	if code(err) == "NoSuchKey" {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer got.Body.Close()
	var b bytes.Buffer
	if _, err := io.Copy(&b, got.Body); err != nil {
		return "", err
	}
	return valueOf(b.String())
}
