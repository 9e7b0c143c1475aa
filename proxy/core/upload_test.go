package core

import "testing"

// FuzzUploadOwner: the container of a container's uploads names its owner, whatever the names are; and no name breaks the parser.
func FuzzUploadOwner(f *testing.F) {
	f.Add("AUTH_1", "photos")
	f.Add("a|b", "3|c|d")
	f.Add("", "|")
	f.Fuzz(func(t *testing.T, account, container string) {
		a, c, ok := uploadOwner(uploadContainer(account, container))
		if !ok || a != account || c != container {
			t.Fatalf("%q, %q, %v from %q, %q", a, c, ok, account, container)
		}
		if a, c, ok := uploadOwner(account); ok && uploadContainer(a, c) != account && len(a)+len(c) > len(account) {
			t.Fatalf("%q, %q from %q", a, c, account)
		}
	})
}
