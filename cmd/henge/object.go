package main

import (
	"iter"
	"net/http"
	"strings"

	"henge/cluster/rings"
	"henge/internal/erasure"
	"henge/proxy/core"
	"henge/proxy/s3"
	"henge/proxy/swift"
	"henge/ring"
	"henge/storaged/peerapi"
)

// objectHandler serves both dialects on one port.
func (p *peer) objectHandler() http.Handler {
	swiftAPI := swift.New(swift.Config{
		Core: p.core, Tokens: p.identity.Tokens(), V1Auth: p.identity.V1Auth(), Clock: p.clock, Logger: p.logger, Version: version, Region: p.cfg.Ident.Region,
	})
	s3API := s3.New(s3.Config{
		Core: p.core, Keys: p.identity.Keys(), Clock: p.clock, Logger: p.logger, Region: p.cfg.Object.Region, Domains: p.cfg.Object.Domains,
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if swift.Matches(r) {
			swiftAPI.ServeHTTP(w, r)
			return
		}
		s3API.ServeHTTP(w, r)
	})
}

// distance puts devices of this process before those of other peers.
func (p *peer) distance(t peerapi.Target) int {
	if t.Peer == p.node.ID() {
		return 0
	}
	return 1
}

// placement shows the published rings to the proxy.
type placement struct {
	book   *rings.Book
	secret ring.Secret
}

func (p placement) Account() core.Ring   { return ringView(p.book.Ring(rings.Account)) }
func (p placement) Container() core.Ring { return ringView(p.book.Ring(rings.Container)) }
func (p placement) Secret() ring.Secret  { return p.secret }

func (p placement) Object(policy uint8) core.Ring {
	r := p.book.Object(int(policy))
	for _, known := range p.book.Policies() {
		if r != nil && known.Index == int(policy) && known.Coding != nil {
			return codedRing{placedRing{r}, known.Coding}
		}
	}
	return ringView(r)
}

// codedRing is the ring of an erasure-coded policy.
type codedRing struct {
	placedRing
	shape *erasure.Shape
}

// Shape is core.CodedRing's.
func (r codedRing) Shape() *erasure.Shape { return r.shape }

func (p placement) Policies() []core.Policy {
	var all []core.Policy
	for _, policy := range p.book.Policies() {
		shown := core.Policy{Index: uint8(policy.Index), Name: policy.Name, Aliases: policy.Aliases, Default: policy.Default, Deprecated: policy.Deprecated}
		if r := p.book.Object(policy.Index); r != nil {
			shown.Replicas = r.Replicas()
		}
		if policy.Coding != nil {
			shown.Coding = policy.Coding.String()
		}
		if shown.Default {
			all = append([]core.Policy{shown}, all...)
		} else {
			all = append(all, shown)
		}
	}
	return all
}

// ringView is nil as an interface when there is no ring.
func ringView(r *ring.Ring) core.Ring {
	if r == nil {
		return nil
	}
	return placedRing{r}
}

type placedRing struct{ *ring.Ring }

func (r placedRing) Primaries(p ring.Partition, dst []peerapi.Target) []peerapi.Target {
	var few [8]*ring.Device
	for _, d := range r.Ring.Primaries(p, few[:0]) {
		dst = append(dst, target(d))
	}
	return dst
}

func (r placedRing) Handoffs(p ring.Partition) iter.Seq[peerapi.Target] {
	return func(yield func(peerapi.Target) bool) {
		for d := range r.Ring.Handoffs(p) {
			if !yield(target(d)) {
				return
			}
		}
	}
}

func target(d *ring.Device) peerapi.Target { return peerapi.Target{Peer: d.Peer, Device: d.Name} }

// metricsHandler serves /metrics and /healthcheck.
func (p *peer) metricsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", p.metrics.Handler())
	mux.HandleFunc("GET /healthcheck", func(w http.ResponseWriter, _ *http.Request) {
		if reasons := p.unready(); len(reasons) > 0 {
			http.Error(w, strings.Join(reasons, "\n"), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write([]byte("OK\n"))
	})
	return mux
}
