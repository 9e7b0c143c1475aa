package main

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// sample is henge.toml with every key, its default and what it means. It is the documentation, and the source of the defaults.
//
//go:embed henge.toml
var sample string

// config is one peer's configuration: henge.toml, with HENGE_... environment variables over it.
type config struct {
	DataDir string         `toml:"data_dir"`
	PeerID  string         `toml:"peer_id"`
	Address string         `toml:"address"`
	Region  int            `toml:"region"`
	Zone    int            `toml:"zone"`
	Seeds   []string       `toml:"seeds"`
	Roles   []string       `toml:"roles"`
	Ports   portsConfig    `toml:"ports"`
	Storage storageConfig  `toml:"storage"`
	Object  objectConfig   `toml:"object"`
	Ident   identityConfig `toml:"identity"`
	Image   imageConfig    `toml:"image"`
	Wiring  wiringConfig   `toml:"wiring"`
	Network networkConfig  `toml:"network"`
	Volume  volumeConfig   `toml:"volume"`
	Placing placingConfig  `toml:"scheduler"`
	Compute computeConfig  `toml:"compute"`
	Log     logConfig      `toml:"log"`
	Devices []deviceConfig `toml:"device"`
}

type portsConfig struct {
	Identity int `toml:"identity"`
	Object   int `toml:"object"`
	Peers    int `toml:"peers"`
	Gossip   int `toml:"gossip"`
	Metrics  int `toml:"metrics"`
	Image    int `toml:"image"`
	Network  int `toml:"network"`
	Volume   int `toml:"volume"`
	ISCSI    int `toml:"iscsi"`
	Placing  int `toml:"scheduler"`
	Compute  int `toml:"compute"`
	Metadata int `toml:"metadata"`
	Console  int `toml:"console"`
}

type storageConfig struct {
	ReserveMiB     int64   `toml:"reserve_mib"`
	RepairMiB      int64   `toml:"repair_mib_per_second"`
	AuditMiB       int64   `toml:"audit_mib_per_second"`
	ExpirePerSec   int64   `toml:"expire_per_second"`
	ReapDelay      int64   `toml:"reap_delay_seconds"`
	ReapPerSec     int64   `toml:"reap_per_second"`
	ReservePercent float64 `toml:"reserve_percent"`
}

type objectConfig struct {
	PublicURL string   `toml:"public_url"`
	Domains   []string `toml:"domains"`
	Region    string   `toml:"s3_region"`
}

type identityConfig struct {
	PublicURL string `toml:"public_url"`
	Region    string `toml:"region"`
}

type logConfig struct {
	Level string `toml:"level"`
	File  string `toml:"file"`
}

type deviceConfig struct {
	Name   string  `toml:"name"`
	Path   string  `toml:"path"`
	Weight float64 `toml:"weight"`
}

// allRoles are the roles that a peer can play today.
var allRoles = []string{"proxy", "storage", "identity", "image", "network", "volume", "scheduler", "compute"}

func defaultConfig() config {
	var c config
	if _, err := toml.Decode(sample, &c); err != nil {
		panic("henge.toml: " + err.Error())
	}
	return c
}

// loadConfig reads a file over the defaults, and the environment over that. An unknown key is an error.
func loadConfig(path string, environ []string) (config, error) {
	c := defaultConfig()
	raw, err := os.ReadFile(path)
	if err != nil {
		return c, fmt.Errorf("read the configuration: %w", err)
	}
	meta, err := toml.NewDecoder(bytes.NewReader(raw)).Decode(&c)
	if err != nil {
		return c, fmt.Errorf("%s: %w", path, err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return c, fmt.Errorf("%s: there is no key %q (henge config prints all)", path, unknown[0])
	}
	if err := applyEnvironment(reflect.ValueOf(&c).Elem(), "HENGE", environ); err != nil {
		return c, err
	}
	return c, c.validate()
}

// applyEnvironment sets fields from variables such as HENGE_PORTS_OBJECT=8081. Lists are separated by commas; [[device]] has no variable.
func applyEnvironment(v reflect.Value, prefix string, environ []string) error {
	for i := range v.NumField() {
		field := v.Field(i)
		name := prefix + "_" + strings.ToUpper(v.Type().Field(i).Tag.Get("toml"))
		if field.Kind() == reflect.Struct {
			if err := applyEnvironment(field, name, environ); err != nil {
				return err
			}
			continue
		}
		for _, entry := range environ {
			if text, ok := strings.CutPrefix(entry, name+"="); ok {
				if err := setField(field, text); err != nil {
					return fmt.Errorf("%s=%q: %w", name, text, err)
				}
			}
		}
	}
	return nil
}

func setField(field reflect.Value, text string) error {
	switch field.Kind() {
	case reflect.String:
		field.SetString(text)
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return errors.New("not a whole number")
		}
		field.SetInt(n)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return errors.New("neither true nor false")
		}
		field.SetBool(b)
	case reflect.Float64:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return errors.New("not a number")
		}
		field.SetFloat(n)
	case reflect.Slice:
		if field.Type().Elem().Kind() != reflect.String {
			return errors.New("cannot be set by the environment")
		}
		field.Set(reflect.ValueOf(strings.Split(text, ",")))
	default:
		return errors.New("cannot be set by the environment")
	}
	return nil
}

func (c *config) validate() error {
	if c.DataDir == "" {
		return errors.New("data_dir is not set")
	}
	abs, err := filepath.Abs(c.DataDir)
	if err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	c.DataDir = abs
	addr, err := netip.ParseAddr(c.Address)
	if err != nil || addr.IsUnspecified() {
		return fmt.Errorf("address %q: give the one IP address by which the other peers reach this one", c.Address)
	}
	for _, seed := range c.Seeds {
		if _, err := netip.ParseAddrPort(seed); err != nil {
			return fmt.Errorf("seeds: %q is no IP address with a port", seed)
		}
	}
	for _, role := range c.Roles {
		if !slices.Contains(allRoles, role) {
			return fmt.Errorf("roles: there is no role %q; the roles are %s", role, strings.Join(allRoles, ", "))
		}
	}
	if err := checkWiring(c.Wiring); err != nil {
		return err
	}
	if err := checkNetwork(c.Network); err != nil {
		return err
	}
	if err := checkCompute(c.Compute); err != nil {
		return err
	}
	seen := map[string]bool{}
	for i, d := range c.Devices {
		if d.Name == "" || strings.ContainsAny(d.Name, "/\\ ") || seen[d.Name] {
			return fmt.Errorf("device %d: the name %q is empty, has a slash or space, or is there twice", i+1, d.Name)
		}
		if d.Path == "" {
			return fmt.Errorf("device %q: path is not set", d.Name)
		}
		seen[d.Name] = true
	}
	return nil
}

// write puts the configuration into a file that loadConfig reads back.
func (c *config) write(path string) error {
	var b bytes.Buffer
	b.WriteString("# Written by henge up; `henge config` explains every key.\n")
	if err := toml.NewEncoder(&b).Encode(c); err != nil {
		return fmt.Errorf("encode the configuration: %w", err)
	}
	return replaceFile(path, b.String())
}

func hostPort(address string, port int) string { return net.JoinHostPort(address, strconv.Itoa(port)) }

// identityURL is the root of the identity API as clients see it, without a slash at the end.
func (c *config) identityURL() string {
	if c.Ident.PublicURL != "" {
		return strings.TrimSuffix(c.Ident.PublicURL, "/")
	}
	return "http://" + hostPort(c.Address, c.Ports.Identity)
}

// objectURL is the root of the object APIs as clients see them, without a slash at the end.
func (c *config) objectURL() string {
	if c.Object.PublicURL != "" {
		return strings.TrimSuffix(c.Object.PublicURL, "/")
	}
	return "http://" + hostPort(c.Address, c.Ports.Object)
}

// metricsURL is the root of the metrics port.
func (c *config) metricsURL() string { return "http://" + hostPort(c.Address, c.Ports.Metrics) }

// has tells whether the peer plays the role.
func (c *config) has(role string) bool { return slices.Contains(c.Roles, role) }
