package openstack

import "encoding/json"

// Value takes a field as whatever JSON it is, for those that may be one thing or another.
func (f *Fields) Value(name string) (value any, there bool) {
	raw, ok := f.take(name)
	if !ok {
		return nil, false
	}
	if err := json.Unmarshal(raw, &value); err != nil {
		f.Fail(name, "%s", err)
	}
	return value, true
}

// Empty tells whether the field is there and the empty text, as some clients send what has no content.
func (f *Fields) Empty(name string) bool { return string(f.raw[name]) == `""` }
