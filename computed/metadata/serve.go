package metadata

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"henge/cluster/state"
	"henge/computed/model"
	"henge/internal/errs"
)

func netmask(cidr string) string {
	p, err := netip.ParsePrefix(cidr)
	if err != nil {
		return ""
	}
	raw := p.Addr().AsSlice()
	for i := range raw {
		raw[i] = 0
		for bit := range 8 {
			if i*8+bit < p.Bits() {
				raw[i] |= 0x80 >> bit
			}
		}
	}
	mask, _ := netip.AddrFromSlice(raw) // as long as the address was
	return mask.String()
}

// ServeGuest answers a guest that the network service has recognised by its network and address.
func (s *Service) ServeGuest(w http.ResponseWriter, r *http.Request, portID, deviceID, projectID string) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	posts := r.Method == http.MethodPost && isPassword(parts)
	if r.Method != http.MethodGet && r.Method != http.MethodHead && !posts {
		http.Error(w, "metadata is read only, but for openstack/latest/password", http.StatusMethodNotAllowed)
		return
	}
	g, err := s.guest(r.Context(), deviceID)
	switch {
	case errs.Is(err, errs.NotFound), err == nil && projectID != "" && g.ProjectID != projectID:
		http.NotFound(w, r)
		return
	case err != nil:
		s.Logger.ErrorContext(r.Context(), "metadata", "server", deviceID, "port", portID, "error", err)
		http.Error(w, "the metadata cannot be read now", http.StatusInternalServerError)
		return
	}
	if posts {
		s.takePassword(w, r, g)
		return
	}
	body, kind, ok := g.answer(parts)
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", kind)
	_, _ = w.Write(body) // a guest that went away is not our error
}

const (
	textType = "text/plain; charset=UTF-8"
	jsonType = "application/json"
)

// answer finds a path in the two trees.
func (g guest) answer(parts []string) (body []byte, kind string, ok bool) {
	if parts[0] == "" {
		return lines(ec2Dates), textType, true
	}
	if parts[0] == "openstack" {
		return g.openstack(parts[1:])
	}
	if !slices.Contains(ec2Dates, parts[0]) {
		return nil, "", false
	}
	switch {
	case len(parts) == 1:
		names := []string{"meta-data/"}
		if len(g.userData) > 0 {
			names = append(names, "user-data")
		}
		return lines(names), textType, true
	case parts[1] == "user-data" && len(parts) == 2:
		return g.userData, "application/octet-stream", len(g.userData) > 0
	case parts[1] == "meta-data":
		return walk(g.ec2(), parts[2:])
	}
	return nil, "", false
}

func lines(names []string) []byte { return []byte(strings.Join(names, "\n")) }

func (g guest) openstack(parts []string) ([]byte, string, bool) {
	switch {
	case len(parts) == 0:
		return lines(openstackDates), textType, true
	case !slices.Contains(openstackDates, parts[0]):
		return nil, "", false
	case len(parts) == 1:
		return lines(append(g.openstackFiles(), passwordFile)), textType, true
	case len(parts) == 2 && parts[1] == passwordFile:
		return []byte(g.GuestPassword), textType, true
	case len(parts) > 2:
		return nil, "", false
	}
	raw, ok := g.openstackFile(parts[1])
	if parts[1] == "user_data" {
		return raw, "application/octet-stream", ok
	}
	return raw, jsonType, ok
}

// walk goes down EC2's tree: a directory is listed, a leaf is given.
func walk(tree map[string]any, parts []string) ([]byte, string, bool) {
	if len(parts) == 0 {
		var names []string
		for name, v := range tree {
			if sub, isDir := v.(map[string]any); isDir {
				if _, key := sub["openssh-key"]; key {
					name += "=key"
				} else {
					name += "/"
				}
			}
			names = append(names, name)
		}
		slices.Sort(names)
		return lines(names), textType, true
	}
	v, ok := tree[parts[0]]
	if !ok {
		return nil, "", false
	}
	if sub, isDir := v.(map[string]any); isDir {
		return walk(sub, parts[1:])
	}
	return []byte(fmt.Sprint(v)), textType, len(parts) == 1
}

// secretKey is where the secret of signatures lies.
const secretKey = "metadata"

// Secret gives the cluster's secret, making it if it is not there.
func (s *Service) Secret(ctx context.Context) (secret string, err error) {
	fresh := rand.Text()
	err = s.Store.Update(ctx, func(w state.Writer) error {
		old, there, err := model.Optional(model.Secrets.Get(w, secretKey))
		if err != nil || there {
			secret = old
			return err
		}
		secret = fresh
		return model.Secrets.Put(w, secretKey, fresh)
	})
	return secret, err
}

// Handler answers on the service's own port: only who has signed the id of a server with the secret.
func (s *Service) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, project := r.Header.Get("X-Instance-ID"), r.Header.Get("X-Tenant-ID")
		if id == "" {
			http.Error(w, "X-Instance-ID header is missing from request.", http.StatusBadRequest)
			return
		}
		var secret string
		err := s.Store.View(r.Context(), func(r state.Reader) (err error) {
			secret, _, err = model.Optional(model.Secrets.Get(r, secretKey))
			return err
		})
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(id))
		given, bad := hex.DecodeString(r.Header.Get("X-Instance-ID-Signature"))
		if err != nil || bad != nil || secret == "" || !hmac.Equal(given, mac.Sum(nil)) {
			http.Error(w, "Invalid proxy request signature.", http.StatusForbidden)
			return
		}
		s.ServeGuest(w, r, "", id, project)
	})
}
