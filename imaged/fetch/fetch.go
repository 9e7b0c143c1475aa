package fetch

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"henge/internal/errs"
	"henge/internal/limits"
)

const (
	redirectsMax  = 5
	headerTimeout = 30 * time.Second
	urlBytesMax   = 2048
)

// Fetcher opens URLs. Safe for concurrent use.
type Fetcher struct {
	allow  []string // host:port, lower case
	client *http.Client
}

// New makes a Fetcher. Besides public addresses at ports 80 and 443 it goes to those in allow: "host:port", or "host" for 80 and 443.
func New(allow []string) (*Fetcher, error) {
	f := &Fetcher{}
	for _, entry := range allow {
		host, port, err := net.SplitHostPort(entry)
		if err != nil {
			host, port = strings.Trim(entry, "[]"), ""
		}
		if host == "" || strings.Trim(port, "0123456789") != "" || strings.ContainsAny(host, "/ ") {
			return nil, errs.New(errs.Invalid, "%q is neither a host nor host:port", entry)
		}
		ports := []string{port}
		if port == "" {
			ports = []string{"80", "443"}
		}
		for _, p := range ports {
			f.allow = append(f.allow, strings.ToLower(net.JoinHostPort(host, p)))
		}
	}
	f.client = &http.Client{
		Transport: &http.Transport{DialContext: f.dial, ResponseHeaderTimeout: headerTimeout, TLSHandshakeTimeout: headerTimeout, DisableKeepAlives: true, DisableCompression: true,
			MaxResponseHeaderBytes: limits.HeaderBytesMax},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) > redirectsMax {
				return errs.New(errs.Invalid, "it redirects more than %d times", redirectsMax)
			}
			return f.judge(req.URL)
		},
	}
	return f, nil
}

// Check tells whether a URL may be fetched, without touching the network: errs.Invalid if not.
func (f *Fetcher) Check(text string) error {
	if len(text) > urlBytesMax {
		return errs.New(errs.Invalid, "The URI is longer than %d bytes.", urlBytesMax)
	}
	u, err := url.Parse(text)
	if err != nil {
		return errs.New(errs.Invalid, "The URI %.100q cannot be read.", text)
	}
	return f.judge(u)
}

func (f *Fetcher) judge(u *url.URL) error {
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return errs.New(errs.Invalid, "Images can be fetched by http and https, not by %.20q.", u.Scheme)
	case u.Hostname() == "":
		return errs.New(errs.Invalid, "The URI names no host.")
	case u.User != nil:
		return errs.New(errs.Invalid, "The URI holds credentials, which everybody who sees the image's tasks would see.")
	}
	at := target(u)
	if f.allowed(at) {
		return nil
	}
	if _, port, _ := net.SplitHostPort(at); port != "80" && port != "443" {
		return errs.New(errs.Invalid, "Images can be fetched from ports 80 and 443, not from %s, unless the operator allows it.", port)
	}
	if addr, err := netip.ParseAddr(u.Hostname()); err == nil && !public(addr) {
		return refusedAddress(addr)
	}
	return nil
}

// target is where a URL leads: host:port.
func target(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return strings.ToLower(net.JoinHostPort(u.Hostname(), port))
}

func (f *Fetcher) allowed(at string) bool { return slices.Contains(f.allow, strings.ToLower(at)) }

func refusedAddress(addr netip.Addr) error {
	return errs.New(errs.Invalid, "Images can be fetched from public addresses, not from %s, unless the operator allows it.", addr)
}

// special are the networks that are not public though their addresses look it.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("240.0.0.0/4"), netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("2002::/16"),
}

// public tells whether an address is one that anybody could reach from anywhere.
func public(addr netip.Addr) bool {
	addr = addr.Unmap()
	if !addr.IsGlobalUnicast() || addr.IsPrivate() || addr.Zone() != "" {
		return false
	}
	return !slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// dial connects; the address is judged when the name is resolved, so that a name cannot mean one thing to the check and another to the connection.
func (f *Fetcher) dial(ctx context.Context, network, at string) (net.Conn, error) {
	d := net.Dialer{Timeout: limits.ClientHeaderTimeout}
	if !f.allowed(at) {
		d.Control = func(_, address string, _ syscall.RawConn) error {
			where, err := netip.ParseAddrPort(address)
			if err != nil {
				return err
			}
			if !public(where.Addr()) {
				return refusedAddress(where.Addr())
			}
			return nil
		}
	}
	return d.DialContext(ctx, network, at)
}

// Fetch opens what a URL names. size is -1 when the other side does not say. A body of which no byte comes for limits.ClientIdleTimeout ends in an error.
func (f *Fetcher) Fetch(ctx context.Context, text string) (io.ReadCloser, int64, error) {
	if err := f.Check(text); err != nil {
		return nil, 0, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, text, nil)
	if err != nil {
		cancel(nil)
		return nil, 0, errs.With(errs.Invalid, err)
	}
	resp, err := f.client.Do(req)
	if err != nil {
		cancel(nil)
		return nil, 0, errs.New(errs.Invalid, "fetch the image: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		cancel(nil)
		return nil, 0, errors.Join(errs.New(errs.Invalid, "fetch the image: %.100s answers %s", text, resp.Status), resp.Body.Close())
	}
	b := &body{ReadCloser: resp.Body, cancel: cancel}
	b.timer = time.AfterFunc(limits.ClientIdleTimeout, func() { cancel(errs.New(errs.Timeout, "no byte came for %v", limits.ClientIdleTimeout)) })
	return b, resp.ContentLength, nil
}

// body ends when nothing comes for too long.
type body struct {
	io.ReadCloser
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.timer.Reset(limits.ClientIdleTimeout)
	return n, err
}

func (b *body) Close() error {
	b.timer.Stop()
	b.cancel(nil)
	return b.ReadCloser.Close()
}
