package swift

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"henge/identity/authn"
)

// accessList is a parsed X-Container-Read or -Write.
type accessList struct {
	referrers []string // without ".r:", in order: the last that matches decides
	groups    []string // "project:user", role names, ".rlistings"
}

// parseACL reads what cleanACL made.
func parseACL(s string) accessList {
	var l accessList
	for value := range strings.SplitSeq(s, ",") {
		value = strings.TrimSpace(value)
		if host, ok := strings.CutPrefix(value, ".r:"); ok {
			l.referrers = append(l.referrers, host)
		} else if value != "" {
			if plain, err := url.PathUnescape(value); err == nil {
				value = plain
			}
			l.groups = append(l.groups, value)
		}
	}
	return l
}

// cleanACL brings an access list as a client sent it into the form in which it is kept, with Swift's error texts.
func cleanACL(write bool, s string) (string, error) {
	var values []string
	for raw := range strings.SplitSeq(s, ",") {
		raw = strings.TrimSpace(raw)
		if raw == "" {
			continue
		}
		first, second, two := strings.Cut(raw, ":")
		first, second = strings.TrimSpace(first), strings.TrimSpace(second)
		if !two || !strings.HasPrefix(first, ".") {
			values = append(values, raw)
			continue
		}
		if !slices.Contains([]string{".r", ".ref", ".referer", ".referrer"}, first) {
			return "", text(http.StatusBadRequest, "Unknown designator '%s' in ACL: '%s'", first, raw)
		}
		if write {
			return "", text(http.StatusBadRequest, "Referrers not allowed in write ACL: '%s'", raw)
		}
		host, err := cleanReferrer(second, raw)
		if err != nil {
			return "", err
		}
		values = append(values, ".r:"+host)
	}
	return strings.Join(values, ","), nil
}

// cleanReferrer brings the part after ".r:" into form: an optional "-", then "*", a host, or ".domain".
func cleanReferrer(host, raw string) (string, error) {
	minus := ""
	if rest, ok := strings.CutPrefix(host, "-"); ok {
		minus, host = "-", strings.TrimSpace(rest)
	}
	if rest, ok := strings.CutPrefix(host, "*"); ok && rest != "" {
		host = strings.TrimSpace(rest)
	}
	if host == "" || host == "." {
		return "", text(http.StatusBadRequest, "No host/domain value after referrer designation in ACL: '%s'", raw)
	}
	return minus + host, nil
}

// refers tells whether the list admits requests that were referred by the page.
func (l accessList) refers(referrer string) bool {
	if len(l.referrers) == 0 {
		return false
	}
	host := "unknown"
	if u, err := url.Parse(referrer); err == nil && u.Hostname() != "" {
		host = strings.ToLower(u.Hostname())
	}
	matches := func(pattern string) bool {
		return pattern == host || strings.HasPrefix(pattern, ".") && strings.HasSuffix(host, pattern)
	}
	allow := false
	for _, pattern := range l.referrers {
		if rest, ok := strings.CutPrefix(pattern, "-"); ok {
			if matches(rest) {
				allow = false
			}
		} else if pattern == "*" || matches(pattern) {
			allow = true
		}
	}
	return allow
}

// listings tells whether those who are admitted by referrer may list, too.
func (l accessList) listings() bool { return slices.Contains(l.groups, ".rlistings") }

// defaultDomain is the one domain in which names, not only ids, count in access lists: elsewhere they are not unique.
const defaultDomain = "default"

// names tells whether the list names the identity: project:user by id, or by name in the default domain, with "*" for either.
func (l accessList) names(id *authn.Identity) bool {
	if id == nil || id.ProjectID == "" || len(l.groups) == 0 {
		return false
	}
	projects, users := []string{id.ProjectID, "*"}, []string{id.UserID, "*"}
	if id.UserDomainID == defaultDomain && id.ProjectDomainID == defaultDomain {
		projects, users = append(projects, id.ProjectName), append(users, id.UserName)
	}
	for _, p := range projects {
		for _, u := range users {
			if slices.Contains(l.groups, p+":"+u) {
				return true
			}
		}
	}
	return false
}

// hasRole tells whether the list names one of the roles (of the account's own project: the caller has seen to that).
func (l accessList) hasRole(id *authn.Identity) bool {
	return slices.ContainsFunc(l.groups, func(g string) bool { return id.HasRole(strings.ToLower(g)) })
}
