// The AWS SDK for JavaScript against a running cloud: the environment says where and who.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
  S3Client, CreateBucketCommand, PutObjectCommand, GetObjectCommand, HeadObjectCommand, ListObjectsV2Command,
  DeleteObjectsCommand, DeleteBucketCommand, CopyObjectCommand,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";

const s3 = new S3Client({ endpoint: process.env.AWS_ENDPOINT_URL, region: process.env.AWS_REGION, forcePathStyle: true });
const Bucket = "javascript-sdk";
const md5 = (data) => createHash("md5").update(data).digest("hex");
const read = async (Key, more = {}) => Buffer.from(await (await s3.send(new GetObjectCommand({ Bucket, Key, ...more }))).Body.transformToByteArray());

await s3.send(new CreateBucketCommand({ Bucket }));
for (const Key of ["plain", "with space", "a/b/c", "Grüße & 日本語 + 100%"]) {
  const Body = Buffer.from(`this is ${Key}`);
  const put = await s3.send(new PutObjectCommand({ Bucket, Key, Body, Metadata: { colour: "blue" } }));
  assert.equal(put.ETag, `"${md5(Body)}"`);
  assert.deepEqual(await read(Key), Body);
  const head = await s3.send(new HeadObjectCommand({ Bucket, Key, ChecksumMode: "ENABLED" }));
  assert.equal(head.Metadata.colour, "blue");
  assert.ok(head.ChecksumCRC32, "the SDK's own checksum is kept");
}

const large = Buffer.alloc(12 * 1024 * 1024 + 5, "henge stands ");
await new Upload({ client: s3, params: { Bucket, Key: "large", Body: large }, partSize: 5 * 1024 * 1024 }).done();
assert.equal(md5(await read("large")), md5(large));
assert.deepEqual(await read("large", { Range: "bytes=5242870-5242890" }), large.subarray(5242870, 5242891));

await s3.send(new CopyObjectCommand({ Bucket, Key: "copy", CopySource: encodeURI(`${Bucket}/with space`) }));
assert.equal((await read("copy")).toString(), "this is with space");

await assert.rejects(s3.send(new PutObjectCommand({ Bucket, Key: "plain", Body: "x", IfNoneMatch: "*" })), { name: "PreconditionFailed" });
await assert.rejects(s3.send(new GetObjectCommand({ Bucket, Key: "no such key" })), { name: "NoSuchKey" });

const listed = await s3.send(new ListObjectsV2Command({ Bucket, Delimiter: "/" }));
assert.deepEqual(listed.CommonPrefixes.map((p) => p.Prefix), ["a/"]);
const all = (await s3.send(new ListObjectsV2Command({ Bucket }))).Contents.map(({ Key }) => ({ Key }));
assert.equal(all.length, 6);
const gone = await s3.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects: all } }));
assert.equal(gone.Deleted.length, 6);
await s3.send(new DeleteBucketCommand({ Bucket }));
console.log("all is well");
