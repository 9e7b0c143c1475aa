package configdrive

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"henge/internal/errs"
)

var drive = []File{
	{"openstack/latest/meta_data.json", []byte(`{"uuid": "x"}`)},
	{"openstack/latest/user_data", bytes.Repeat([]byte("0123456789"), 1000)},
	{"openstack/2018-08-27/network_data.json", []byte(`{}`)},
	{"ec2/latest/meta-data.json", nil},
}

// TestWrite_OthersReadIt reads a drive back with programs that are not ours.
func TestWrite_OthersReadIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "drive.iso")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := Write(f, drive, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("blkid", "-p", "-o", "export", path).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "LABEL=config-2\n") || !strings.Contains(string(out), "TYPE=iso9660\n") {
		t.Fatalf("blkid: %v\n%s", err, out)
	}
	out, err = exec.Command("sh", "-ec", `bsdtar -tf "$1" | grep -v '/$' | grep -v '^\.$' | sort; bsdtar -xOf "$1" openstack/latest/user_data`, "sh", path).CombinedOutput()
	if err != nil {
		t.Fatalf("bsdtar: %v\n%s", err, out)
	}
	var want strings.Builder
	for _, name := range []string{"ec2/latest/meta-data.json", "openstack/2018-08-27/network_data.json", "openstack/latest/meta_data.json", "openstack/latest/user_data"} {
		want.WriteString(name + "\n")
	}
	want.Write(drive[1].Data)
	for _, dir := range []string{"ec2", "ec2/latest", "openstack", "openstack/2018-08-27", "openstack/latest"} {
		out = bytes.Replace(out, []byte(dir+"\n"), nil, 1)
	}
	if string(out) != want.String() {
		t.Errorf("bsdtar reads\n%.400s\nwant\n%.400s", out, want.String())
	}
}

func TestWrite_ManyFilesInOneDirectory(t *testing.T) {
	var files []File
	for i := range 200 {
		files = append(files, File{Path: "d/file-" + strings.Repeat("n", 30) + string(rune('a'+i%26)) + string(rune('a'+i/26)), Data: []byte{byte(i)}})
	}
	var a, b bytes.Buffer
	if err := Write(&a, files, time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	if err := Write(&b, files, time.Unix(0, 0)); err != nil || !bytes.Equal(a.Bytes(), b.Bytes()) || a.Len()%sector != 0 {
		t.Errorf("two writes differ, or %d bytes are no whole sectors: %v", a.Len(), err)
	}
}

func TestWrite_Refuses(t *testing.T) {
	for name, files := range map[string][]File{
		"twice": {{"a", nil}, {"a", nil}}, "up": {{"../a", nil}}, "no name": {{"a//b", nil}}, "long": {{strings.Repeat("x", 65), nil}}, "file as directory": {{"a", nil}, {"a/b", nil}},
	} {
		if err := Write(&bytes.Buffer{}, files, time.Unix(0, 0)); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
