package engine

// apply brings an entry of the log, which is durable, into the index. Entries come in the order of the log; an older record may come after a newer one
// when compaction moved it. Two goroutines must not apply at the same time: the appender does, and recovery before there is one.
func (s *Store) apply(e *entry) {
	switch e.kind {
	case entryRecord:
		s.applyRecord(e.slot())
	case entryLost:
		lost := e.slot()
		lost.flags |= flagLost
		s.applyRecord(lost)
	case entryPromise:
		s.applyPromise(e)
	case entryJournal:
		s.journl.add(e)
	case entryRelease:
		s.journl.released(Stream(e.policy), Position(e.ts))
	}
}

func (s *Store) applyRecord(n slot) {
	id := n.id()
	v := s.index.get(id)
	if v.found() && v.ts > n.ts {
		s.segs.addStale(n.seg)
		return
	}
	old := s.index.set(n)
	s.segs.addLive(n.seg, int64(n.length))
	s.count(n, 1)
	if old.flags != 0 {
		s.segs.addLive(old.seg, -int64(old.length))
		s.segs.addStale(old.seg)
		s.count(old, -1)
	}
	if v.promise.ts != 0 && v.promise.ts <= n.ts {
		s.index.setPromise(id, promise{})
		s.segs.addLive(v.promise.seg, -promiseLength)
	}
}

// count keeps the totals when a slot comes or goes.
func (s *Store) count(n slot, by int64) {
	n.flags |= flagUsed
	if n.exists() {
		s.objects.Add(by)
	}
	if n.is(flagLost) {
		s.quarantine.Add(by)
	}
}

func (s *Store) applyPromise(e *entry) {
	v := s.index.get(e.id())
	if e.ts <= v.ts || e.ts < v.promise.ts {
		return
	}
	old := s.index.setPromise(e.id(), promise{ts: e.ts, seg: e.segment, off: e.off})
	s.segs.addLive(e.segment, promiseLength)
	if old.ts != 0 {
		s.segs.addLive(old.seg, -promiseLength)
	}
}
