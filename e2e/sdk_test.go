package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/projects"
	"github.com/gophercloud/gophercloud/v2/openstack/objectstorage/v1/containers"
	"github.com/gophercloud/gophercloud/v2/openstack/objectstorage/v1/objects"
	"github.com/minio/minio-go/v7"
	miniocredentials "github.com/minio/minio-go/v7/pkg/credentials"

	"henge/e2e/henged"
)

// awsClient is the AWS SDK for Go, as its users configure it, at one peer.
func awsClient(c *henged.Cloud, peer int) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(c.ObjectURL(peer)),
		Region:       c.Environment["AWS_DEFAULT_REGION"],
		UsePathStyle: true,
		Credentials:  credentials.NewStaticCredentialsProvider(c.Environment["AWS_ACCESS_KEY_ID"], c.Environment["AWS_SECRET_ACCESS_KEY"], ""),
	})
}

// code is the S3 error code in err.
func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return fmt.Sprint(err)
}

func TestAWSSDKGo(t *testing.T) {
	cloud, ctx := sharedCloud(t, 4), context.Background()
	c, other := awsClient(cloud, 1), awsClient(cloud, 3)
	bucket := aws.String("aws-sdk-go")
	if _, err := c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: bucket}); err != nil {
		t.Fatal(err)
	}
	for _, name := range awkwardNames {
		body := []byte("this is " + name)
		if _, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: &name, Body: bytes.NewReader(body), ChecksumAlgorithm: types.ChecksumAlgorithmCrc64nvme}); err != nil {
			t.Fatalf("put %q: %v", name, err)
		}
		got, err := other.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: &name, ChecksumMode: types.ChecksumModeEnabled})
		if err != nil {
			t.Fatalf("get %q at another peer: %v", name, err)
		}
		back, err := io.ReadAll(got.Body)
		got.Body.Close()
		if err != nil || !bytes.Equal(back, body) || got.ChecksumCRC64NVME == nil {
			t.Fatalf("%q: %q, %v, checksum %v", name, back, err, got.ChecksumCRC64NVME)
		}
	}
	listed, err := other.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket})
	if err != nil || len(listed.Contents) != len(awkwardNames) {
		t.Fatalf("listed %d of %d, %v", len(listed.Contents), len(awkwardNames), err)
	}
	large := pattern(13<<20 + 1)
	small := func(o *transfermanager.Options) { o.PartSizeBytes, o.MultipartUploadThreshold = 5<<20, 5<<20 }
	if _, err := transfermanager.New(c, small).UploadObject(ctx, &transfermanager.UploadObjectInput{Bucket: bucket, Key: aws.String("large"), Body: bytes.NewReader(large)}); err != nil {
		t.Fatal(err)
	}
	whole, err := transfermanager.New(other, small).GetObject(ctx, &transfermanager.GetObjectInput{Bucket: bucket, Key: aws.String("large")})
	if err != nil {
		t.Fatal(err)
	}
	if back, err := io.ReadAll(whole.Body); err != nil || !bytes.Equal(back, large) {
		t.Fatalf("downloaded %d bytes, %v", len(back), err)
	}
	if _, err := other.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String("large"), IfNoneMatch: aws.String("*")}); code(err) != "PreconditionFailed" {
		t.Errorf("If-None-Match on a key that is there: %v", err)
	}
	if _, err := other.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String("new"), IfMatch: aws.String(`"x"`)}); code(err) != "NoSuchKey" {
		t.Errorf("If-Match on a key that is not there: %v", err)
	}
}

func TestMinioGo(t *testing.T) {
	cloud, ctx := sharedCloud(t, 1), context.Background()
	c, err := minio.New(strings.TrimPrefix(cloud.ObjectURL(1), "http://"), &minio.Options{
		Creds: miniocredentials.NewStaticV4(cloud.Environment["AWS_ACCESS_KEY_ID"], cloud.Environment["AWS_SECRET_ACCESS_KEY"], ""),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.MakeBucket(ctx, "minio-go", minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	large := pattern(20 << 20)
	// Of unknown size: goes in parts.
	if _, err := c.PutObject(ctx, "minio-go", "large", io.MultiReader(bytes.NewReader(large)), -1, minio.PutObjectOptions{PartSize: 5 << 20, UserMetadata: map[string]string{"Colour": "blue"}}); err != nil {
		t.Fatal(err)
	}
	obj, err := c.GetObject(ctx, "minio-go", "large", minio.GetObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer obj.Close()
	back, err := io.ReadAll(obj)
	if err != nil || !bytes.Equal(back, large) {
		t.Fatalf("%d bytes, %v", len(back), err)
	}
	info, err := c.StatObject(ctx, "minio-go", "large", minio.StatObjectOptions{})
	if err != nil || info.UserMetadata["Colour"] != "blue" {
		t.Fatalf("%+v, %v", info, err)
	}
	if _, err := c.ComposeObject(ctx, minio.CopyDestOptions{Bucket: "minio-go", Object: "composed"},
		minio.CopySrcOptions{Bucket: "minio-go", Object: "large"}, minio.CopySrcOptions{Bucket: "minio-go", Object: "large"}); err != nil {
		t.Fatal(err)
	}
	if info, err := c.StatObject(ctx, "minio-go", "composed", minio.StatObjectOptions{}); err != nil || info.Size != 40<<20 {
		t.Fatalf("%+v, %v", info, err)
	}
	for o := range c.ListObjects(ctx, "minio-go", minio.ListObjectsOptions{Recursive: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		if err := c.RemoveObject(ctx, "minio-go", o.Key, minio.RemoveObjectOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.RemoveBucket(ctx, "minio-go"); err != nil {
		t.Fatal(err)
	}
}

func TestGophercloud(t *testing.T) {
	cloud, ctx := sharedCloud(t, 4), context.Background()
	env := cloud.Environment
	provider, err := openstack.AuthenticatedClient(ctx, gophercloud.AuthOptions{
		IdentityEndpoint: env["OS_AUTH_URL"], Username: env["OS_USERNAME"], Password: env["OS_PASSWORD"], DomainName: "Default", TenantName: env["OS_PROJECT_NAME"],
	})
	if err != nil {
		t.Fatal(err)
	}
	keystone, err := openstack.NewIdentityV3(provider, gophercloud.EndpointOpts{Region: env["OS_REGION_NAME"]})
	if err != nil {
		t.Fatal(err)
	}
	pages, err := projects.List(keystone, nil).AllPages(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if all, err := projects.ExtractProjects(pages); err != nil || len(all) < 3 {
		t.Fatalf("%d projects, %v", len(all), err)
	}
	swift, err := openstack.NewObjectStorageV1(provider, gophercloud.EndpointOpts{Region: env["OS_REGION_NAME"]})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := containers.Create(ctx, swift, "gophercloud", containers.CreateOpts{Metadata: map[string]string{"a": "b"}}).Extract(); err != nil {
		t.Fatal(err)
	}
	body := pattern(123456)
	if _, err := objects.Create(ctx, swift, "gophercloud", "one two", objects.CreateOpts{Content: bytes.NewReader(body)}).Extract(); err != nil {
		t.Fatal(err)
	}
	got := objects.Download(ctx, swift, "gophercloud", "one two", nil)
	if back, err := got.ExtractContent(); err != nil || !bytes.Equal(back, body) {
		t.Fatalf("%d bytes, %v", len(back), err)
	}
	if err := objects.Delete(ctx, swift, "gophercloud", "one two", nil).Err; err != nil {
		t.Fatal(err)
	}
	if err := objects.Get(ctx, swift, "gophercloud", "one two", nil).Err; !gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		t.Fatalf("after the delete: %v", err)
	}
	if err := containers.Delete(ctx, swift, "gophercloud").Err; err != nil {
		t.Fatal(err)
	}
}
