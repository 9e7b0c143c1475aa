package s3

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"strings"
	"time"

	"henge/proxy/s3/fault"
)

// policy is what may be uploaded by a form.
type policy struct {
	expires     time.Time
	conditions  []policyCondition
	least, most int64 // content-length-range
}

// policyCondition is one condition on a field: that it is equal to value, or starts with it.
type policyCondition struct {
	field, value string
	prefix       bool
}

func badPolicy(format string, args ...any) *fault.Error {
	return fault.Newf(fault.InvalidPolicyDocument, "Invalid Policy: "+format, args...)
}

// parsePolicy reads a policy: base64 of JSON.
func parsePolicy(text string) (p policy, err error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return p, badPolicy("the field must be base64.")
	}
	var document struct {
		Expiration string            `json:"expiration"`
		Conditions []json.RawMessage `json:"conditions"`
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&document); err != nil {
		return p, badPolicy("Invalid JSON.")
	}
	if _, err := d.Token(); err != io.EOF {
		return p, badPolicy("Invalid JSON.")
	}
	if p.expires, err = time.Parse(time.RFC3339, document.Expiration); err != nil {
		return p, badPolicy("Invalid 'expiration' value: '%s'", document.Expiration)
	}
	p.most = anySize
	for _, raw := range document.Conditions {
		if err := p.add(raw); err != nil {
			return p, err
		}
	}
	return p, nil
}

// add reads one condition: {"field": "value"}, ["eq", "$field", "value"], ["starts-with", "$field", "prefix"] or ["content-length-range", least, most].
func (p *policy) add(raw json.RawMessage) error {
	var object map[string]string
	if json.Unmarshal(raw, &object) == nil {
		for name, value := range object {
			p.conditions = append(p.conditions, policyCondition{field: strings.ToLower(name), value: value})
		}
		return nil
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil || len(list) != 3 {
		return badPolicy("Invalid condition: %s", raw)
	}
	var verb, name, value string
	if json.Unmarshal(list[0], &verb) != nil {
		return badPolicy("Invalid condition: %s", raw)
	}
	if strings.EqualFold(verb, "content-length-range") {
		least, err1 := policyNumber(list[1])
		most, err2 := policyNumber(list[2])
		if err1 != nil || err2 != nil || least < 0 || most < least {
			return badPolicy("Invalid content-length-range: %s", raw)
		}
		p.least, p.most = max(p.least, least), min(p.most, most)
		return nil
	}
	if json.Unmarshal(list[1], &name) != nil || json.Unmarshal(list[2], &value) != nil || !strings.HasPrefix(name, "$") {
		return badPolicy("Invalid condition: %s", raw)
	}
	c := policyCondition{field: strings.ToLower(name[1:]), value: value}
	switch strings.ToLower(verb) {
	case "eq":
	case "starts-with":
		c.prefix = true
	default:
		return badPolicy("Invalid condition: unknown operation '%s'.", verb)
	}
	p.conditions = append(p.conditions, c)
	return nil
}

// policyNumber reads a number, which some clients put into quotes.
func policyNumber(raw json.RawMessage) (n int64, err error) {
	err = json.Unmarshal(bytes.Trim(raw, `"`), &n)
	return n, err
}

// check holds a form's fields to the policy: every condition holds, and every field that says anything is named by one.
func (p policy) check(fields map[string]string, now time.Time) error {
	if now.After(p.expires) {
		return fault.Newf(fault.AccessDenied, "Invalid according to Policy: Policy expired.")
	}
	named := make(map[string]bool, len(p.conditions))
	for _, c := range p.conditions {
		named[c.field] = true
		if !c.holds(fields[c.field]) {
			verb := "eq"
			if c.prefix {
				verb = "starts-with"
			}
			return fault.Newf(fault.AccessDenied, "Invalid according to Policy: Policy Condition failed: [%q, %q, %q]", verb, "$"+c.field, c.value)
		}
	}
	for name := range fields {
		switch {
		case named[name], strings.HasPrefix(name, "x-ignore-"):
		case name == "policy", name == "x-amz-signature", name == "signature", name == "awsaccesskeyid", name == "x-amz-algorithm", name == "x-amz-credential", name == "x-amz-date":
		default:
			return fault.Newf(fault.AccessDenied, "Invalid according to Policy: Extra input fields: %s", name)
		}
	}
	return nil
}

func (c policyCondition) holds(value string) bool {
	if !c.prefix {
		return value == c.value
	}
	if c.field == "content-type" && strings.Contains(value, ",") { // a list: each of them
		for v := range strings.SplitSeq(value, ",") {
			if !strings.HasPrefix(v, c.value) {
				return false
			}
		}
	}
	return strings.HasPrefix(value, c.value)
}
