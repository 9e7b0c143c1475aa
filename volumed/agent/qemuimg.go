package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"henge/internal/errs"
)

// QEMUImg is a Converter that runs qemu-img, with bounds on what a hostile image can make it use.
type QEMUImg struct{ dir string }

var _ Converter = (*QEMUImg)(nil)

const (
	infoWait        = 30 * time.Second
	infoMemoryBytes = "1073741824" // of address space, as OpenStack has it
	infoSeconds     = "30"         // of CPU
	convertMemory   = "4294967296"
	convertWait     = 2 * time.Hour
	outputMax       = 64 << 10
)

// NewQEMUImg makes the folder, and removes what is left in it.
func NewQEMUImg(dir string) (*QEMUImg, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for conversions: %w", err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return nil, err
	}
	for _, path := range left {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove what a conversion left: %w", err)
		}
	}
	return &QEMUImg{dir}, nil
}

// Dir implements Converter.
func (q *QEMUImg) Dir() string { return q.dir }

// names are qemu-img's of formats that the image service calls otherwise.
func formatName(format string) string {
	switch format {
	case "vhd":
		return "vpc"
	case "ami", "ari", "aki", "iso":
		return "raw"
	}
	return format
}

// VirtualSize implements Converter.
func (q *QEMUImg) VirtualSize(ctx context.Context, path, format string) (int64, error) {
	out, err := q.run(ctx, infoWait, infoMemoryBytes, infoSeconds, "info", "--output=json", "-f", formatName(format), path)
	if err != nil {
		return 0, err
	}
	var info struct {
		VirtualSize int64  `json:"virtual-size"`
		Backing     string `json:"backing-filename"`
		Specific    struct {
			Data struct {
				DataFile string `json:"data-file"`
				Extents  []any  `json:"extents"`
			} `json:"data"`
		} `json:"format-specific"`
	}
	if err := json.Unmarshal(out, &info); err != nil {
		return 0, fmt.Errorf("read what qemu-img says: %w", err)
	}
	switch {
	case info.Backing != "":
		return 0, errs.New(errs.Invalid, "the image has a backing file: only images that are whole in themselves can be used")
	case info.Specific.Data.DataFile != "":
		return 0, errs.New(errs.Invalid, "the image keeps its data in another file: only images that are whole in themselves can be used")
	case len(info.Specific.Data.Extents) > 1:
		return 0, errs.New(errs.Invalid, "the image has several extents: only images that are whole in themselves can be used")
	}
	return info.VirtualSize, nil
}

// Convert implements Converter.
func (q *QEMUImg) Convert(ctx context.Context, from, fromFormat, to, toFormat string) error {
	_, err := q.run(ctx, convertWait, convertMemory, "unlimited", "convert", "-f", formatName(fromFormat), "-O", formatName(toFormat), from, to)
	return err
}

// run runs qemu-img. What it prints on the error output is the error.
func (q *QEMUImg) run(ctx context.Context, most time.Duration, memory, seconds string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	cmd := exec.CommandContext(ctx, "prlimit", append([]string{"--as=" + memory, "--cpu=" + seconds, "--", "qemu-img"}, args...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	cmd.Dir = q.dir
	cmd.WaitDelay = time.Second
	out, problems := &bounded{most: outputMax}, &bounded{most: outputMax}
	cmd.Stdout, cmd.Stderr = out, problems
	err := cmd.Run()
	switch {
	case err == nil:
		return out.buf.Bytes(), nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("qemu-img %s: %w", args[0], ctx.Err())
	case errors.Is(err, exec.ErrNotFound):
		return nil, errs.New(errs.Unavailable, "qemu-img is not installed on the peer that has the volume (Debian: qemu-utils)")
	}
	said := strings.TrimSpace(strings.ReplaceAll(problems.buf.String(), q.dir+"/", ""))
	if strings.Contains(said, "No space left") {
		return nil, errs.New(errs.NoSpace, "qemu-img %s: %s", args[0], said)
	}
	return nil, errs.New(errs.Invalid, "qemu-img %s: %w: %s", args[0], err, said)
}

// bounded keeps the beginning of what is written to it.
type bounded struct {
	buf  bytes.Buffer
	most int
}

func (b *bounded) Write(p []byte) (int, error) {
	b.buf.Write(p[:min(len(p), max(0, b.most-b.buf.Len()))])
	return len(p), nil
}
