package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// access is how a client gets in.
type access struct {
	IdentityURL, ObjectURL string
	Region, S3Region       string
	User, Password         string
	Project                string
	AccessKey, SecretKey   string
}

// writeClientFiles puts openrc, clouds.yaml and aws.env into dir, readable by their owner only.
func writeClientFiles(dir string, a access) error {
	for name, text := range map[string]string{"openrc": a.openrc(), "clouds.yaml": a.cloudsYAML(), "aws.env": a.awsEnv()} {
		if err := replaceFile(filepath.Join(dir, name), text); err != nil {
			return err
		}
	}
	return nil
}

// replaceFile writes a file so that a reader finds the old text or the new one.
func replaceFile(path, text string) error {
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// exports renders shell assignments; values are quoted so that any password survives.
func exports(pairs ...string) string {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		fmt.Fprintf(&b, "export %s='%s'\n", pairs[i], strings.ReplaceAll(pairs[i+1], "'", `'\''`))
	}
	return b.String()
}

func (a access) openrc() string {
	return exports("OS_AUTH_URL", a.IdentityURL+"/v3", "OS_IDENTITY_API_VERSION", "3", "OS_USERNAME", a.User, "OS_PASSWORD", a.Password,
		"OS_PROJECT_NAME", a.Project, "OS_USER_DOMAIN_NAME", "Default", "OS_PROJECT_DOMAIN_NAME", "Default", "OS_REGION_NAME", a.Region,
		"OS_INTERFACE", "public")
}

func (a access) cloudsYAML() string {
	return fmt.Sprintf(`clouds:
  henge:
    auth:
      auth_url: %s/v3
      username: %s
      password: '%s'
      project_name: %s
      user_domain_name: Default
      project_domain_name: Default
    region_name: %s
    interface: public
    identity_api_version: 3
`, a.IdentityURL, a.User, strings.ReplaceAll(a.Password, "'", "''"), a.Project, a.Region)
}

func (a access) awsEnv() string {
	return exports("AWS_ACCESS_KEY_ID", a.AccessKey, "AWS_SECRET_ACCESS_KEY", a.SecretKey, "AWS_ENDPOINT_URL", a.ObjectURL,
		"AWS_ENDPOINT_URL_S3", a.ObjectURL, "AWS_DEFAULT_REGION", a.S3Region, "AWS_REGION", a.S3Region)
}

// readExports reads back a file that exports wrote.
func readExports(path string) (map[string]string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	values := map[string]string{}
	for line := range strings.Lines(string(raw)) {
		name, value, ok := strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, "export ")), "=")
		if !ok {
			continue
		}
		values[name] = strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(value, "'"), "'"), `'\''`, "'")
	}
	return values, nil
}
