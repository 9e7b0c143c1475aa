package metadata

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"henge/cluster/state"
	"henge/computed/model"
)

func service(t *testing.T) *Service {
	t.Helper()
	s := New(Config{Store: state.NewMemory(), Logger: slog.New(slog.DiscardHandler), Floating: func(_ context.Context, ports []string) (string, error) { return "198.51.100." + ports[0][:1], nil }})
	err := s.Store.Update(t.Context(), func(w state.Writer) error {
		server := model.Server{ID: "s1", Name: "web", Hostname: "web", ProjectID: "p1", Created: time.Unix(0, 0), KeyName: "k", PublicKey: "ssh-ed25519 AAAA x", Metadata: map[string]string{"role": "www"},
			Host: "h1", Flavor: model.Flavor{Name: "m1.nano"}, NICs: []model.NIC{{PortID: "01234567-89ab-cdef", MAC: "fa:16:3e:00:00:01", NetworkID: "n1", MTU: 1450, Tag: "front",
				Addresses: []model.Address{{IP: "10.0.0.5", SubnetID: "s4"}, {IP: "fd00::5", SubnetID: "s6"}},
				Subnets:   []model.SubnetRef{{ID: "s4", CIDR: "10.0.0.0/20", Gateway: "10.0.0.1", DNS: []string{"9.9.9.9"}}, {ID: "s6", CIDR: "fd00::/64", Gateway: "fd00::1"}}}}}
		if err := model.Servers.Put(w, "s1", server); err != nil {
			return err
		}
		return model.UserDatas.Put(w, "s1", model.UserData{ServerID: "s1", Data: "IyEvYmluL3NoCg=="})
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func get(s *Service, path string) (int, string) {
	w := httptest.NewRecorder()
	s.ServeGuest(w, httptest.NewRequest("GET", path, nil), "port", "s1", "p1")
	return w.Code, w.Body.String()
}

func TestTrees(t *testing.T) {
	s := service(t)
	for path, want := range map[string]string{
		"/latest/meta-data/public-keys/":              "0/",
		"/latest/meta-data/public-keys/0/openssh-key": "ssh-ed25519 AAAA x",
		"/2009-04-04/meta-data/local-ipv4":            "10.0.0.5",
		"/2009-04-04/meta-data/instance-type":         "m1.nano",
		"/latest/meta-data/public-ipv4":               "198.51.100.0",
		"/latest/meta-data/hostname":                  "web",
		"/latest/user-data":                           "#!/bin/sh\n",
		"/openstack/latest/user_data":                 "#!/bin/sh\n",
		"/openstack/2018-08-27/vendor_data.json":      "{}",
		"/latest":                                     "meta-data/\nuser-data",
	} {
		if status, body := get(s, path); status != 200 || strings.ReplaceAll(body, "0=key", "0/") != want {
			t.Errorf("%s: %d %q, want %q", path, status, body, want)
		}
	}
	for _, path := range []string{"/nothing", "/latest/meta-data/nothing", "/openstack/latest/nothing", "/openstack/1999-01-01/meta_data.json", "/latest/meta-data/hostname/x", "/openstack/latest/user_data/x"} {
		if status, _ := get(s, path); status != 404 {
			t.Errorf("%s: %d", path, status)
		}
	}
	if status, body := get(s, "/"); status != 200 || !strings.Contains(body, "2009-04-04\nlatest") {
		t.Errorf("/: %d %q", status, body)
	}
}

func TestOpenStackDocuments(t *testing.T) {
	s := service(t)
	var meta struct {
		UUID       string            `json:"uuid"`
		PublicKeys map[string]string `json:"public_keys"`
		Meta       map[string]string `json:"meta"`
		Devices    []map[string]any  `json:"devices"`
	}
	_, body := get(s, "/openstack/latest/meta_data.json")
	if err := json.Unmarshal([]byte(body), &meta); err != nil || meta.UUID != "s1" || meta.PublicKeys["k"] == "" || meta.Meta["role"] != "www" || len(meta.Devices) != 1 {
		t.Errorf("%s, %v", body, err)
	}
	var network struct {
		Links    []map[string]any `json:"links"`
		Networks []map[string]any `json:"networks"`
		Services []map[string]any `json:"services"`
	}
	_, body = get(s, "/openstack/latest/network_data.json")
	if err := json.Unmarshal([]byte(body), &network); err != nil || len(network.Links) != 1 || len(network.Networks) != 2 || len(network.Services) != 1 {
		t.Fatalf("%s, %v", body, err)
	}
	if network.Networks[0]["netmask"] != "255.255.240.0" || network.Networks[1]["netmask"] != "ffff:ffff:ffff:ffff::" || network.Links[0]["mtu"] != 1450.0 {
		t.Errorf("%s", body)
	}
	files, err := s.Files(t.Context(), "s1")
	if err != nil || len(files) < 20 {
		t.Errorf("%d files, %v", len(files), err)
	}
}

func TestAnotherProjectsGuest(t *testing.T) {
	w := httptest.NewRecorder()
	service(t).ServeGuest(w, httptest.NewRequest("GET", "/latest/meta-data/", nil), "port", "s1", "p2")
	if w.Code != 404 {
		t.Errorf("status %d", w.Code)
	}
}

func TestHandler_WantsASignature(t *testing.T) {
	s := service(t)
	secret, err := s.Secret(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.Secret(t.Context()); err != nil || again != secret {
		t.Errorf("the secret changes: %v", err)
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("s1"))
	good := hex.EncodeToString(mac.Sum(nil))
	for signature, want := range map[string]int{good: 200, "": 403, "zz": 403, good[2:]: 403} {
		r := httptest.NewRequest("GET", "/latest/meta-data/hostname", nil)
		r.Header.Set("X-Instance-ID", "s1")
		r.Header.Set("X-Tenant-ID", "p1")
		r.Header.Set("X-Instance-ID-Signature", signature)
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("signature %q: %d, want %d", signature, w.Code, want)
		}
	}
}

// A guest leaves its password once; another one is refused until the first is cleared, and one without bounds is refused at all.
func TestPassword(t *testing.T) {
	s := service(t)
	post := func(path, body string) int {
		w := httptest.NewRecorder()
		s.ServeGuest(w, httptest.NewRequest("POST", path, strings.NewReader(body)), "port", "s1", "p1")
		return w.Code
	}
	const path = "/openstack/2013-10-17/password"
	for _, try := range []struct {
		path, body string
		status     int
	}{{path, strings.Repeat("x", 1021), 400}, {path, "", 400}, {"/openstack/latest/meta_data.json", "x", 405}, {"/openstack/1999-01-01/password", "x", 405}, {path, "secret", 200}, {path, "other", 409}} {
		if got := post(try.path, try.body); got != try.status {
			t.Errorf("POST %s %.9q: %d, want %d", try.path, try.body, got, try.status)
		}
	}
	if status, body := get(s, path); status != 200 || body != "secret" {
		t.Errorf("%d %q", status, body)
	}
}
