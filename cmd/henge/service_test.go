package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestWithNewRoles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "henge.toml")
	roles := func(text string) []string {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := withNewRoles(path, []string{"proxy"})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := roles("[ports]\nidentity = 5000\n"); !slices.Contains(got, "image") {
		t.Errorf("a configuration from before there were images: %q", got)
	}
	if got := roles("[ports]\nimage = 9292\n"); slices.Contains(got, "image") {
		t.Errorf("a role that was taken out came back: %q", got)
	}
}
