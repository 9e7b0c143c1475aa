package core

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"henge/internal/clock"
	"henge/internal/limits"
	"henge/storaged/peerapi"
)

// containersCachedMax bounds the container cache.
const containersCachedMax = 10_000

type containerName struct{ account, container string }

type cachedContainer struct {
	info    peerapi.IndexInfo
	expires time.Time
}

// containerCache remembers containers that exist, for limits.ContainerCacheTTL. That one does not exist is never remembered: another proxy may be making it.
type containerCache struct {
	time clock.Clock

	mu    sync.Mutex // guards the fields below
	lru   *simplelru.LRU[containerName, cachedContainer]
	epoch uint64 // counts drops, so that an answer that was on its way during one is not remembered
}

func newContainerCache(t clock.Clock) *containerCache {
	lru, err := simplelru.NewLRU[containerName, cachedContainer](containersCachedMax, nil)
	if err != nil {
		panic(err) // only for a size below 1
	}
	return &containerCache{time: t, lru: lru}
}

// get gives what is remembered, and the epoch to hand to put if that is nothing.
func (cc *containerCache) get(name containerName) (peerapi.IndexInfo, bool, uint64) {
	now := cc.time.Now()
	cc.mu.Lock()
	defer cc.mu.Unlock()
	entry, ok := cc.lru.Get(name)
	if ok && now.Before(entry.expires) {
		return entry.info, true, cc.epoch
	}
	return peerapi.IndexInfo{}, false, cc.epoch
}

func (cc *containerCache) put(name containerName, info peerapi.IndexInfo, epoch uint64) {
	expires := cc.time.Now().Add(limits.ContainerCacheTTL)
	cc.mu.Lock()
	defer cc.mu.Unlock()
	if cc.epoch == epoch {
		cc.lru.Add(name, cachedContainer{info, expires})
	}
}

func (cc *containerCache) drop(name containerName) {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	cc.epoch++
	cc.lru.Remove(name)
}
