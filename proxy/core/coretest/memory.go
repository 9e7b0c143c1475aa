package coretest

import (
	"context"
	"maps"
	"sync"
	"time"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/proxy/core"
)

// Memory is a core.Service in memory. Make it with New.
type Memory struct {
	clock    clock.Clock
	hybrid   *clock.Hybrid
	policies []core.Policy

	mu       sync.Mutex // guards the fields below
	accounts map[string]*account
	uploads  map[string]*upload
	lastID   int
	fail     func(op string) error
}

var _ core.Service = (*Memory)(nil)

type account struct {
	exists     bool
	deleted    time.Time
	timestamp  clock.Timestamp
	meta       map[string]string
	containers map[string]*container
}

type container struct {
	created, changed clock.Timestamp
	policy           core.Policy
	meta             map[string]string
	objects          map[string]*object
}

type object struct {
	info core.Info
	data []byte // of manifests: their JSON
}

// New makes an empty service with the policies "standard" (0, the default) and "second" (1).
func New(c clock.Clock) *Memory {
	return &Memory{
		clock:  c,
		hybrid: clock.NewHybrid(c, 1),
		policies: []core.Policy{
			{Index: 0, Name: "standard", Default: true, Replicas: 3},
			{Index: 1, Name: "second", Aliases: []string{"plan-b"}, Replicas: 3},
			{Index: 2, Name: "old", Replicas: 3, Deprecated: true},
		},
		accounts: make(map[string]*account),
		uploads:  make(map[string]*upload),
	}
}

// FailWith makes every later call ask fail, with the method's name, whether to fail; nil ends that.
func (m *Memory) FailWith(fail func(op string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = fail
}

// enter locks m and asks FailWith's function. On error m is not locked.
func (m *Memory) enter(op string) error {
	m.mu.Lock()
	if m.fail != nil {
		if err := m.fail(op); err != nil {
			m.mu.Unlock()
			return err
		}
	}
	return nil
}

// Policies implements core.Service.
func (m *Memory) Policies() []core.Policy { return m.policies }

// Account implements core.Service.
func (m *Memory) Account(_ context.Context, name string) (core.AccountInfo, error) {
	if err := m.enter("Account"); err != nil {
		return core.AccountInfo{}, err
	}
	defer m.mu.Unlock()
	a := m.accounts[name]
	if a == nil {
		return core.AccountInfo{}, nil
	}
	info := core.AccountInfo{Exists: a.exists, Deleted: a.deleted, Timestamp: a.timestamp, Meta: maps.Clone(a.meta)}
	for _, c := range a.containers {
		info.Containers++
		n, bytes := c.count()
		info.Objects += n
		info.Bytes += bytes
	}
	return info, nil
}

func (c *container) count() (n, bytes int64) {
	for _, o := range c.objects {
		n++
		bytes += o.info.Size
	}
	return n, bytes
}

// account finds or makes an account. m is locked.
func (m *Memory) account(name string) *account {
	a := m.accounts[name]
	if a == nil {
		a = &account{meta: make(map[string]string), containers: make(map[string]*container)}
		m.accounts[name] = a
	}
	if !a.exists {
		a.exists, a.timestamp = true, m.hybrid.Next()
	}
	return a
}

func merge(into, change map[string]string) {
	for k, v := range change {
		if v == "" {
			delete(into, k)
		} else {
			into[k] = v
		}
	}
}

// UpdateAccount implements core.Service.
func (m *Memory) UpdateAccount(_ context.Context, name string, meta map[string]string) error {
	if err := m.enter("UpdateAccount"); err != nil {
		return err
	}
	defer m.mu.Unlock()
	a := m.account(name)
	if !a.deleted.IsZero() {
		return errs.New(errs.NotFound, "account %s was deleted", name)
	}
	merge(a.meta, meta)
	return nil
}

// DeleteAccount implements core.Service.
func (m *Memory) DeleteAccount(_ context.Context, name string) error {
	if err := m.enter("DeleteAccount"); err != nil {
		return err
	}
	defer m.mu.Unlock()
	a := m.accounts[name]
	if a == nil || !a.exists || !a.deleted.IsZero() {
		return errs.New(errs.NotFound, "account %s was deleted", name)
	}
	a.deleted, a.containers = m.clock.Now(), map[string]*container{}
	return nil
}

// find gives a container; m is locked.
func (m *Memory) find(acc, name string) (*container, error) {
	if a := m.accounts[acc]; a != nil {
		if c := a.containers[name]; c != nil {
			return c, nil
		}
	}
	return nil, errs.New(errs.NotFound, "container %s/%s: not found", acc, name)
}

// Container implements core.Service.
func (m *Memory) Container(_ context.Context, acc, name string, _ bool) (core.ContainerInfo, error) {
	if err := m.enter("Container"); err != nil {
		return core.ContainerInfo{}, err
	}
	defer m.mu.Unlock()
	c, err := m.find(acc, name)
	if err != nil {
		return core.ContainerInfo{}, err
	}
	info := core.ContainerInfo{Created: c.created, Changed: c.changed, Policy: c.policy, Meta: maps.Clone(c.meta)}
	info.Objects, info.Bytes = c.count()
	return info, nil
}

// PutContainer implements core.Service.
func (m *Memory) PutContainer(_ context.Context, acc, name string, p core.PutContainer) (bool, error) {
	if err := m.enter("PutContainer"); err != nil {
		return false, err
	}
	defer m.mu.Unlock()
	policy := m.policies[0]
	for _, one := range m.policies {
		if one.Named(p.Policy) {
			policy = one
		}
	}
	a := m.account(acc)
	if !a.deleted.IsZero() {
		return false, errs.New(errs.NotFound, "account %s was deleted", acc)
	}
	c := a.containers[name]
	made := c == nil
	switch {
	case made:
		now := m.hybrid.Next()
		c = &container{created: now, changed: now, policy: policy, meta: make(map[string]string), objects: make(map[string]*object)}
		a.containers[name] = c
	case p.MustMake:
		return false, errs.New(errs.Exists, "container %s/%s is there already", acc, name)
	case p.Policy != "" && policy.Index != c.policy.Index:
		return false, errs.New(errs.Conflict, "container %s/%s has another policy", acc, name)
	}
	merge(c.meta, p.Meta)
	return made, nil
}

// UpdateContainer implements core.Service.
func (m *Memory) UpdateContainer(_ context.Context, acc, name string, meta map[string]string) error {
	if err := m.enter("UpdateContainer"); err != nil {
		return err
	}
	defer m.mu.Unlock()
	c, err := m.find(acc, name)
	if err != nil {
		return err
	}
	merge(c.meta, meta)
	c.changed = m.hybrid.Next()
	return nil
}

// DeleteContainer implements core.Service.
func (m *Memory) DeleteContainer(_ context.Context, acc, name string) error {
	if err := m.enter("DeleteContainer"); err != nil {
		return err
	}
	defer m.mu.Unlock()
	c, err := m.find(acc, name)
	if err != nil {
		return err
	}
	if len(c.objects) > 0 {
		return errs.New(errs.Conflict, "container %s/%s is not empty", acc, name)
	}
	maps.DeleteFunc(m.uploads, func(_ string, u *upload) bool { return u.ref.Account == acc && u.ref.Container == name })
	delete(m.accounts[acc].containers, name)
	return nil
}
