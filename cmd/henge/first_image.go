package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// firstImageWait bounds the upload of the first image.
const firstImageWait = 5 * time.Minute

// imageName is the name of an image that lies in a file.
func imageName(path string) string {
	return strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
}

// loadFirstImage uploads the file as a public image, once in the life of a cloud: an image that was deleted stays so. It is an ordinary client of the APIs.
func loadFirstImage(ctx context.Context, l layout, c config, path string) error {
	mark := l.file("first-image")
	if path == "" || l.exists(mark) || !c.has("image") {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, firstImageWait)
	defer cancel()
	client := imageClient{config: c}
	defer client.http.CloseIdleConnections()
	if err := client.login(ctx, l); err != nil {
		return err
	}
	id, err := client.upload(ctx, path)
	if err != nil {
		return err
	}
	return replaceFile(mark, id+"\n")
}

type imageClient struct {
	config config
	token  string
	http   http.Client
}

// login gets a token with what openrc says.
func (c *imageClient) login(ctx context.Context, l layout) error {
	env, err := readExports(l.file("openrc"))
	if err != nil {
		return err
	}
	domain := map[string]any{"id": "default"}
	body, err := json.Marshal(map[string]any{"auth": map[string]any{
		"identity": map[string]any{"methods": []string{"password"}, "password": map[string]any{"user": map[string]any{"name": env["OS_USERNAME"], "domain": domain, "password": env["OS_PASSWORD"]}}},
		"scope":    map[string]any{"project": map[string]any{"name": env["OS_PROJECT_NAME"], "domain": domain}},
	}})
	if err != nil {
		return err
	}
	header, err := c.call(ctx, http.MethodPost, c.config.identityURL()+"/v3/auth/tokens", "application/json", bytes.NewReader(body), nil)
	c.token = header.Get("X-Subject-Token")
	return err
}

// upload makes the image; one whose bytes do not come through is taken away again.
func (c *imageClient) upload(ctx context.Context, path string) (id string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("open the image: %w", err)
	}
	defer f.Close()
	format := strings.TrimPrefix(filepath.Ext(path), ".")
	if format == "" || format == "img" {
		format = "raw"
	}
	ask, err := json.Marshal(map[string]any{"name": imageName(path), "disk_format": format, "container_format": "bare", "visibility": "public"})
	if err != nil {
		return "", err
	}
	var made struct {
		ID string `json:"id"`
	}
	root := imageService.url(&c.config) + "/v2/images"
	if _, err := c.call(ctx, http.MethodPost, root, "application/json", bytes.NewReader(ask), &made); err != nil {
		return "", err
	}
	if _, err = c.call(ctx, http.MethodPut, root+"/"+made.ID+"/file", "application/octet-stream", f, nil); err != nil {
		_, _ = c.call(ctx, http.MethodDelete, root+"/"+made.ID, "", nil, nil) // the upload's error says what is wrong
	}
	return made.ID, err
}

// call makes one request, and decodes the answer into v unless that is nil.
func (c *imageClient) call(ctx context.Context, method, url, kind string, body io.Reader, v any) (http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", kind)
	if c.token != "" {
		req.Header.Set("X-Auth-Token", c.token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode >= http.StatusBadRequest {
		said, _ := io.ReadAll(io.LimitReader(res.Body, 500)) // the status says enough if it cannot be read
		return res.Header, fmt.Errorf("%s %s: %s: %s", method, url, res.Status, said)
	}
	if v == nil {
		return res.Header, nil
	}
	return res.Header, json.NewDecoder(res.Body).Decode(v)
}
