package swift

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"henge/internal/errs"
)

// grant is what a temporary URL allows: this one request, within an account or a container.
type grant struct {
	account   string
	container string // "": the key was the account's
	filename  string // of the Content-Disposition
	inline    bool
	expires   time.Time
}

// allows keeps the request within the key's reach: a copy's source, a large object's segments.
func (g *grant) allows(q *request, account, container string) error {
	if account != g.account || container == "" || g.container != "" && container != g.container {
		return status(http.StatusUnauthorized)
	}
	return nil
}

// tempMethods are the methods that a signature for another one covers, too.
var tempMethods = map[string][]string{
	http.MethodGet:    {http.MethodGet},
	http.MethodHead:   {http.MethodHead, http.MethodGet, http.MethodPut, http.MethodPost},
	http.MethodPut:    {http.MethodPut},
	http.MethodPost:   {http.MethodPost},
	http.MethodDelete: {http.MethodDelete},
}

// invalidTempURL is the answer to whatever is wrong with a temporary URL: which part it was is not told.
func invalidTempURL() *fault {
	return text(http.StatusUnauthorized, "Temp URL invalid\n")
}

// identifyTempURL checks the signature against the account's and the container's keys.
func (q *request) identifyTempURL() error {
	signature, expires, ok := parseTempURL(q.query)
	methods := tempMethods[q.r.Method]
	switch {
	case q.r.Method == http.MethodOptions:
		return nil
	case !ok, q.object == "", methods == nil, !strings.HasPrefix(q.account, accountPrefix), q.query.Has("temp_url_ip_range"),
		expires <= q.h.Clock.Now().Unix():
		return invalidTempURL()
	}
	for _, name := range []string{"X-Object-Manifest", "X-Symlink-Target"} {
		if q.r.Header.Get(name) != "" {
			return text(http.StatusBadRequest, "The header '%s' is not allowed in this tempurl", strings.ToLower(name))
		}
	}
	path := "/v1/" + q.account + "/" + q.container + "/" + q.object
	if q.query.Has("temp_url_prefix") {
		prefix := q.query.Get("temp_url_prefix")
		if !strings.HasPrefix(q.object, prefix) {
			return invalidTempURL()
		}
		path = "prefix:/v1/" + q.account + "/" + q.container + "/" + prefix
	}
	account, container, err := q.tempKeys()
	if err != nil {
		return err
	}
	for _, method := range methods {
		message := method + "\n" + strconv.FormatInt(expires, 10) + "\n" + path
		byContainer := signature.matches(message, container)
		if !byContainer && !signature.matches(message, account) {
			continue
		}
		q.grant = &grant{account: q.account, filename: q.query.Get("filename"), inline: q.query.Has("inline"),
			expires: time.Unix(expires, 0)}
		if byContainer {
			q.grant.container = q.container
		}
		return nil
	}
	return invalidTempURL()
}

// tempKeys gives the account's and the container's keys.
func (q *request) tempKeys() (account, container []string, err error) {
	a, err := q.h.Core.Account(q.r.Context(), q.account)
	if err != nil {
		return nil, nil, err
	}
	c, err := q.h.Core.Container(q.r.Context(), q.account, q.container, false)
	if err != nil && !errs.Is(err, errs.NotFound) {
		return nil, nil, err
	}
	keys := func(meta map[string]string, kind string) []string {
		both := []string{meta["x-"+kind+"-meta-temp-url-key"], meta["x-"+kind+"-meta-temp-url-key-2"]}
		return slices.DeleteFunc(both, func(k string) bool { return k == "" })
	}
	return keys(a.Meta, "account"), keys(c.Meta, "container"), nil
}

// tempSignature is a parsed temp_url_sig.
type tempSignature struct {
	sum []byte
	new func() hash.Hash
}

func (s tempSignature) matches(message string, keys []string) bool {
	for _, key := range keys {
		mac := hmac.New(s.new, []byte(key))
		_, _ = mac.Write([]byte(message))
		if hmac.Equal(mac.Sum(nil), s.sum) {
			return true
		}
	}
	return false
}

var tempHashes = map[string]func() hash.Hash{"sha1": sha1.New, "sha256": sha256.New, "sha512": sha512.New}

// parseTempURL reads signature and expiry: hex of SHA-1 (40 digits), SHA-256 (64) or SHA-512 (128), or "name:base64"; seconds since 1970 or ISO 8601.
func parseTempURL(q url.Values) (s tempSignature, expires int64, ok bool) {
	raw := q.Get("temp_url_sig")
	if name, b64, prefixed := strings.Cut(raw, ":"); prefixed {
		s.new = tempHashes[name]
		s.sum, ok = decodeBase64(b64)
	} else {
		s.new = map[int]func() hash.Hash{40: sha1.New, 64: sha256.New, 128: sha512.New}[len(raw)]
		var err error
		s.sum, err = hex.DecodeString(raw)
		ok = err == nil
	}
	if !ok || s.new == nil {
		return s, 0, false
	}
	when := q.Get("temp_url_expires")
	expires, err := strconv.ParseInt(when, 10, 64)
	if err != nil {
		t, terr := time.Parse("2006-01-02T15:04:05Z", when)
		if terr != nil {
			return s, 0, false
		}
		expires = t.Unix()
	}
	return s, expires, true
}

// decodeBase64 takes the URL-safe and the plain alphabet, padded or not.
func decodeBase64(s string) ([]byte, bool) {
	s = strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(s), "=")
	b, err := base64.RawStdEncoding.DecodeString(s)
	return b, err == nil
}

// disposition is the Content-Disposition of a temporary URL's answer, so that a browser saves the file.
func (g *grant) disposition(object, stored string) string {
	kind := "attachment"
	if g.inline {
		kind = "inline"
	}
	name := g.filename
	switch {
	case name == "" && g.inline:
		return kind
	case name == "" && stored != "":
		return stored
	case name == "":
		trimmed := strings.TrimRight(object, "/")
		name = trimmed[strings.LastIndexByte(trimmed, '/')+1:]
	}
	quoted := url.PathEscape(name)
	return kind + `; filename="` + strings.NewReplacer("%20", " ", "%2F", "/").Replace(quoted) + `"; filename*=UTF-8''` + quoted
}
