package httpapi

import "context"

type requestKey struct{}

// WithRequestID marks ctx as belonging to a request.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestKey{}, id)
}

// RequestID is the id of the request that ctx belongs to, in the form of Swift's X-Trans-Id ("tx" + 21 hex digits + "-" + 10 hex digits), which S3
// answers carry as x-amz-request-id and the OpenStack APIs as x-openstack-request-id ("req-" + it). "" outside a request.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestKey{}).(string)
	return id
}
