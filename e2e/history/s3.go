package history

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

// Bucket performs steps by S3. Its client must not try again by itself: a retry is a second operation.
type Bucket struct {
	Client *s3.Client
	Name   string
}

// Do performs a step and gives its answer.
func (b Bucket) Do(ctx context.Context, key string, s Step) Step {
	var err error
	switch s.Kind {
	case Get:
		found, err := b.Read(ctx, key)
		if errors.Is(err, ErrTorn) {
			return Step{Found: err.Error()} // no history allows it
		}
		return Step{Found: found, Unknown: err != nil}
	case Put:
		err = b.put(ctx, key, s)
	case Delete:
		in := &s3.DeleteObjectInput{Bucket: &b.Name, Key: &key}
		in.IfMatch, _ = s.condition()
		_, err = b.Client.DeleteObject(ctx, in)
	}
	switch code(err) {
	case "PreconditionFailed", "NoSuchKey":
		return Step{Refused: true}
	}
	if errors.Is(err, errNotBegun) || code(err) == "ConditionalRequestConflict" {
		// It certainly did not happen, and says nothing of the condition: as if it had never been called.
		return Step{Conflict: true}
	}
	return Step{Unknown: err != nil}
}

func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// ETag is what S3 calls the ETag of a value.
func ETag(value string) string {
	sum := md5.Sum([]byte(Body(value)))
	if strings.HasPrefix(value, InParts) {
		return fmt.Sprintf(`"%x-1"`, md5.Sum(sum[:]))
	}
	return fmt.Sprintf(`"%x"`, sum)
}

// condition is the step's, as If-Match and If-None-Match.
func (s Step) condition() (match, noneMatch *string) {
	switch s.Match {
	case "":
		return nil, nil
	case Nothing:
		return nil, aws.String("*")
	}
	return aws.String(ETag(s.Match)), nil
}

// errNotBegun: the upload ended before anything asked for it to be completed.
var errNotBegun = errors.New("the upload was not completed")

func (b Bucket) put(ctx context.Context, key string, s Step) error {
	if strings.HasPrefix(s.Value, InParts) {
		return b.putInParts(ctx, key, s)
	}
	in := &s3.PutObjectInput{Bucket: &b.Name, Key: &key, Body: strings.NewReader(Body(s.Value))}
	in.IfMatch, in.IfNoneMatch = s.condition()
	_, err := b.Client.PutObject(ctx, in)
	return err
}

func (b Bucket) putInParts(ctx context.Context, key string, s Step) error {
	up, err := b.Client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &b.Name, Key: &key})
	if err != nil {
		return fmt.Errorf("%w: %w", errNotBegun, err)
	}
	part, err := b.Client.UploadPart(ctx, &s3.UploadPartInput{Bucket: &b.Name, Key: &key, UploadId: up.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader(Body(s.Value))})
	if err != nil {
		return fmt.Errorf("%w: %w", errNotBegun, err)
	}
	in := &s3.CompleteMultipartUploadInput{Bucket: &b.Name, Key: &key, UploadId: up.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{ETag: part.ETag, PartNumber: aws.Int32(1)}}}}
	in.IfMatch, in.IfNoneMatch = s.condition()
	_, err = b.Client.CompleteMultipartUpload(ctx, in)
	return err
}

// Read gives the value of a key, "" when there is none.
func (b Bucket) Read(ctx context.Context, key string) (string, error) {
	got, err := b.Client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.Name, Key: &key})
	if code(err) == "NoSuchKey" {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer got.Body.Close()
	var body strings.Builder
	if _, err := io.Copy(&body, got.Body); err != nil {
		return "", err
	}
	return Value(body.String())
}
