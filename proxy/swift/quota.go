package swift

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"henge/internal/limits"
)

// Where quotas are kept.
const (
	metaQuotaBytes   = "x-container-meta-quota-bytes"
	metaQuotaCount   = "x-container-meta-quota-count"
	metaAccountQuota = "x-account-meta-quota-bytes"
)

// checkQuota refuses an object of size bytes (negative: not known) that container or account have no room for. As in Swift, one that takes another's place
// counts, too, and writers at the same moment do not see each other.
func (q *request) checkQuota(size int64) error {
	size = max(size, 0)
	if err := q.checkContainerQuota(size); err != nil {
		return err
	}
	if q.cloudAdmin() {
		return nil
	}
	return q.checkAccountQuota(size)
}

// exceeds tells whether n is over a quota; what is no number is none.
func exceeds(n int64, quota string) bool {
	limit, err := strconv.ParseInt(quota, 10, 64)
	return err == nil && n > limit
}

func overQuota() *fault { return text(http.StatusRequestEntityTooLarge, "Upload exceeds quota.") }

func (q *request) checkContainerQuota(size int64) error {
	info, err := q.h.Core.Container(q.r.Context(), q.account, q.container, false)
	if err != nil || info.Meta[metaQuotaBytes] == "" && info.Meta[metaQuotaCount] == "" {
		return err
	}
	if info, err = q.h.Core.Container(q.r.Context(), q.account, q.container, true); err != nil { // the counts of the other may be old
		return err
	}
	if exceeds(info.Bytes+size, info.Meta[metaQuotaBytes]) || exceeds(info.Objects+1, info.Meta[metaQuotaCount]) {
		return overQuota()
	}
	return nil
}

func (q *request) checkAccountQuota(size int64) error {
	now := q.h.Clock.Now()
	if q.h.quotas.none(q.account, now) {
		return nil
	}
	info, err := q.h.Core.Account(q.r.Context(), q.account)
	if err != nil {
		return err
	}
	quota := info.Meta[metaAccountQuota]
	if quota == "" {
		q.h.quotas.note(q.account, now)
	}
	if exceeds(info.Bytes+size, quota) {
		return overQuota()
	}
	return nil
}

// quotaCacheMax bounds the accounts that a quotaCache remembers.
const quotaCacheMax = 10_000

// quotaCache remembers for limits.ContainerCacheTTL which accounts have no quota, so that a PUT to one costs no look-up. The zero value is ready. Safe for
// concurrent use.
type quotaCache struct {
	mu      sync.Mutex           // guards checked
	checked map[string]time.Time // when there was none
}

// none tells whether the account is known to have no quota.
func (c *quotaCache) none(account string, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, ok := c.checked[account]
	return ok && now.Sub(at) < limits.ContainerCacheTTL
}

func (c *quotaCache) note(account string, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.checked == nil || len(c.checked) >= quotaCacheMax {
		c.checked = make(map[string]time.Time)
	}
	c.checked[account] = now
}

func (c *quotaCache) forget(account string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.checked, account)
}
