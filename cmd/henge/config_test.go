package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "henge.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadConfig(t *testing.T) {
	for _, c := range []struct {
		name, text string
		environ    []string
		wrong      string
		right      func(config) bool
	}{
		{name: "defaults", right: func(c config) bool { return c.Ports.Object == 8080 && len(c.Roles) == len(allRoles) }},
		{name: "file", text: "[ports]\nobject = 81\n", right: func(c config) bool { return c.Ports.Object == 81 && c.Ports.Identity == 5000 }},
		{name: "environment over file", text: "[ports]\nobject = 81\n", environ: []string{"HENGE_PORTS_OBJECT=82"}, right: func(c config) bool { return c.Ports.Object == 82 }},
		{name: "list in environment", environ: []string{"HENGE_ROLES=proxy,identity"}, right: func(c config) bool { return len(c.Roles) == 2 }},
		{name: "unknown key", text: "colour = 1\n", wrong: `no key "colour"`},
		{name: "unknown role", text: `roles = ["king"]`, wrong: `no role "king"`},
		{name: "bad number", environ: []string{"HENGE_ZONE=x"}, wrong: "not a whole number"},
		{name: "any address", text: `address = "0.0.0.0"`, wrong: "the one IP address"},
		{name: "device twice", text: "[[device]]\nname=\"a\"\npath=\"/a\"\n[[device]]\nname=\"a\"\npath=\"/b\"\n", wrong: "there twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := loadConfig(writeConfig(t, c.text), c.environ)
			switch {
			case c.wrong != "":
				if err == nil || !strings.Contains(err.Error(), c.wrong) {
					t.Fatalf("error %v, want one with %q", err, c.wrong)
				}
			case err != nil:
				t.Fatal(err)
			case !c.right(got):
				t.Fatalf("got %+v", got)
			}
		})
	}
}

func TestConfigWrite_ReadsBack(t *testing.T) {
	c := defaultConfig()
	c.DataDir, c.Devices = "/x", []deviceConfig{{Name: "d1", Path: "/x/d1", Weight: 10}}
	path := filepath.Join(t.TempDir(), "henge.toml")
	if err := c.write(path); err != nil {
		t.Fatal(err)
	}
	back, err := loadConfig(path, nil)
	if err != nil || len(back.Devices) != 1 || back.Devices[0] != c.Devices[0] || back.Ports != c.Ports {
		t.Fatalf("%+v, %v", back, err)
	}
}
