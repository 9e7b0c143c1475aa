package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"henge/e2e/henged"
)

// api speaks to the services of one peer as its administrator.
type api struct {
	http  http.Client
	cloud *henged.Cloud
	token string
	made  string // the last server that was made
}

func (a *api) url(port int, path string) string {
	return fmt.Sprintf("http://%s:%d%s", a.cloud.Address(1), port, path)
}

// call sends v, and decodes the answer into into, when they are not nil.
func (a *api) call(ctx context.Context, method, url string, v, into any) (http.Header, error) {
	var body io.Reader
	if v != nil {
		raw, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Auth-Token", a.token)
	req.Header.Set("X-Subject-Token", a.token)
	resp, err := a.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		return nil, fmt.Errorf("%s %s: %s %.500s", method, url, resp.Status, raw)
	}
	if into == nil {
		return resp.Header, nil
	}
	return resp.Header, json.Unmarshal(raw, into)
}

type object = map[string]any

func (a *api) login(ctx context.Context) error {
	domain := object{"id": "default"}
	header, err := a.call(ctx, http.MethodPost, a.url(a.cloud.Ports.Identity, "/v3/auth/tokens"), object{"auth": object{
		"identity": object{"methods": []string{"password"}, "password": object{"user": object{"name": "admin", "domain": domain, "password": a.cloud.Environment["OS_PASSWORD"]}}},
		"scope":    object{"project": object{"name": "admin", "domain": domain}},
	}}, nil)
	if err == nil {
		a.token = header.Get("X-Subject-Token")
	}
	return err
}

// serversListed is how many servers the list of servers has.
const serversListed = 100

// prepareServers raises the quota and makes servers. The cloud has no host for guests: they end in error, with a fault, and are listed like others.
func (a *api) prepareServers(ctx context.Context) error {
	var who struct {
		Token struct {
			Project struct {
				ID string `json:"id"`
			} `json:"project"`
		} `json:"token"`
	}
	if _, err := a.call(ctx, http.MethodGet, a.url(a.cloud.Ports.Identity, "/v3/auth/tokens"), nil, &who); err != nil {
		return err
	}
	project := who.Token.Project.ID
	wide := object{"quota_set": object{"instances": -1, "cores": -1, "ram": -1}}
	if _, err := a.call(ctx, http.MethodPut, a.url(a.cloud.Ports.Compute, "/v2.1/os-quota-sets/"+project), wide, nil); err != nil {
		return err
	}
	if _, err := a.call(ctx, http.MethodPut, a.url(a.cloud.Ports.Network, "/v2.0/quotas/"+project), object{"quota": object{"port": -1}}, nil); err != nil {
		return err
	}
	if _, err := a.call(ctx, http.MethodPut, a.url(a.cloud.Ports.Volume, "/v3/"+project+"/os-quota-sets/"+project), object{"quota_set": object{"volumes": -1, "gigabytes": -1}}, nil); err != nil {
		return err
	}
	image, err := a.image(ctx)
	if err != nil {
		return err
	}
	network, err := a.network(ctx)
	for i := range serversListed {
		if err == nil {
			err = a.server(ctx, "bench-"+strconv.Itoa(i), image, network)
		}
	}
	return err
}

// server makes one with a port of its own.
func (a *api) server(ctx context.Context, name, image, network string) error {
	var made struct {
		Port struct {
			ID string `json:"id"`
		} `json:"port"`
		Server struct {
			ID string `json:"id"`
		} `json:"server"`
	}
	if _, err := a.call(ctx, http.MethodPost, a.url(a.cloud.Ports.Network, "/v2.0/ports"), object{"port": object{"network_id": network}}, &made); err != nil {
		return err
	}
	server := object{"server": object{"name": name, "imageRef": image, "flavorRef": "42", "networks": []object{{"port": made.Port.ID}}}}
	_, err := a.call(ctx, http.MethodPost, a.url(a.cloud.Ports.Compute, "/v2.1/servers"), server, &made)
	a.made = made.Server.ID
	return err
}

// prepareOne sees to it that there is a server.
func (a *api) prepareOne(ctx context.Context) error {
	if a.made != "" {
		return nil
	}
	return a.prepareServers(ctx)
}

func (a *api) image(ctx context.Context) (string, error) {
	var image struct {
		ID string `json:"id"`
	}
	root := a.url(a.cloud.Ports.Image, "/v2/images")
	if _, err := a.call(ctx, http.MethodPost, root, object{"name": "bench", "disk_format": "raw", "container_format": "bare"}, &image); err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, root+"/"+image.ID+"/file", bytes.NewReader(make([]byte, 1<<20)))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("X-Auth-Token", a.token)
	resp, err := a.http.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		return "", fmt.Errorf("upload the image: %s", resp.Status)
	}
	return image.ID, nil
}

// serviceLoads are the operations of the services, one after the other each.
func (a *api) serviceLoads(ctx context.Context) ([]*load, error) {
	if err := a.login(ctx); err != nil {
		return nil, err
	}
	network := ""
	get := func(port int, path string) func(context.Context, int64) (int64, error) {
		return func(ctx context.Context, _ int64) (int64, error) {
			_, err := a.call(ctx, http.MethodGet, a.url(port, path), nil, nil)
			return 0, err
		}
	}
	p := a.cloud.Ports
	return []*load{
		{name: "token validation", unit: 1, do: get(p.Identity, "/v3/auth/tokens")},
		{name: "token by password", unit: 1, do: func(ctx context.Context, _ int64) (int64, error) { return 0, a.login(ctx) }},
		{name: "GET /servers/detail of 100", unit: 1, prepare: a.prepareServers, do: get(p.Compute, "/v2.1/servers/detail")},
		{name: "GET /servers/ID", unit: 1, prepare: a.prepareOne, do: func(ctx context.Context, _ int64) (int64, error) {
			_, err := a.call(ctx, http.MethodGet, a.url(p.Compute, "/v2.1/servers/"+a.made), nil, nil)
			return 0, err
		}},
		{name: "GET /flavors/detail", unit: 1, do: get(p.Compute, "/v2.1/flavors/detail")},
		{name: "port create", unit: 1, prepare: func(ctx context.Context) (err error) { network, err = a.network(ctx); return err },
			do: func(ctx context.Context, _ int64) (int64, error) {
				_, err := a.call(ctx, http.MethodPost, a.url(p.Network, "/v2.0/ports"), object{"port": object{"network_id": network}}, nil)
				return 0, err
			}},
		{name: "volume create to available", unit: 1, most: 100, do: a.volume},
	}, nil
}

func (a *api) network(ctx context.Context) (string, error) {
	var made struct {
		Network struct {
			ID string `json:"id"`
		} `json:"network"`
	}
	if _, err := a.call(ctx, http.MethodPost, a.url(a.cloud.Ports.Network, "/v2.0/networks"), object{"network": object{"name": "bench"}}, &made); err != nil {
		return "", err
	}
	id := made.Network.ID
	_, err := a.call(ctx, http.MethodPost, a.url(a.cloud.Ports.Network, "/v2.0/subnets"), object{"subnet": object{"network_id": id, "ip_version": 4, "cidr": "10.64.0.0/14"}}, nil)
	return id, err
}

// lookInterval is how often a client looks whether a volume is there.
const lookInterval = 5 * time.Millisecond

func (a *api) volume(ctx context.Context, n int64) (int64, error) {
	var v struct {
		Volume struct {
			ID     string `json:"id"`
			Status string `json:"status"`
		} `json:"volume"`
	}
	root := a.url(a.cloud.Ports.Volume, "/v3/volumes")
	if _, err := a.call(ctx, http.MethodPost, root, object{"volume": object{"size": 1, "name": "bench-" + strconv.FormatInt(n, 10)}}, &v); err != nil {
		return 0, err
	}
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for v.Volume.Status != "available" {
		if strings.HasPrefix(v.Volume.Status, "error") {
			return 0, fmt.Errorf("volume %s: %s", v.Volume.ID, v.Volume.Status)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		if _, err := a.call(ctx, http.MethodGet, root+"/"+v.Volume.ID, nil, &v); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// services prints what the operations of the services cost, one request at a time.
func services(ctx context.Context, cloud *henged.Cloud, o options) error {
	a := &api{cloud: cloud}
	defer a.http.CloseIdleConnections()
	all, err := a.serviceLoads(ctx)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "service\top/s\tp50 ms\tp99 ms\tCPU ms/op\terrors\t")
	for _, l := range all {
		if !strings.Contains(l.name, o.only) {
			continue
		}
		r, err := l.measure(ctx, cloud, 1, o.length)
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		fmt.Fprintf(table, "%s\t%.0f\t%.2f\t%.2f\t%.3f\t%d\t\n", l.name, r.rate, r.p50, r.p99, r.cpu, r.errors)
	}
	return table.Flush()
}
