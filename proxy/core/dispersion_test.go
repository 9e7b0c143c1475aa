package core_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"henge/internal/clock"
	"henge/internal/errs"
	"henge/proxy/core"
	"henge/proxy/dispersion"
	"henge/ring"
	"henge/storaged/repair"
	"henge/storaged/server/servertest"
)

func dispersionOf(c *servertest.Cluster, s *core.Core, placed core.Rings) *dispersion.Dispersion {
	policy := placed.Policies()[0]
	return dispersion.New(dispersion.Config{Core: s, Devices: c, Secret: ring.Secret{7}, Rings: func() []dispersion.Ring {
		return []dispersion.Ring{
			{Name: "container", Ring: placed.Container(), Partitions: 1 << 16},
			{Name: "object", Policy: &policy, Ring: placed.Object(0), Partitions: 1 << 16},
		}
	}})
}

func TestDispersion_TellsWhatIsMissing(t *testing.T) {
	c := servertest.NewCluster(t, 4, 1)
	s := overCluster(t, c, 1, clock.System{}, "")
	d := dispersionOf(c, s, clusterRings{clusterRing{c}})
	_, err := d.Report(t.Context())
	wantKind(t, err, errs.NotFound)
	_, err = d.Populate(t.Context(), 101)
	wantKind(t, err, errs.Invalid)
	c.Kill("p2")
	populate(t, d, 0.02, 14)
	down := report(t, d)
	if down[1].Found >= down[1].Expected || down[1].Silent["p2/d1"] == 0 || dispersion.Check(down) == nil {
		t.Errorf("with a peer down: %+v", down[1])
	}
	c.Revive("p2")
	lacking := report(t, d)[1]
	if lacking.Missing[1] == 0 || lacking.OutOfPlace != lacking.Missing[1] || lacking.Found+lacking.OutOfPlace != lacking.Expected || len(lacking.Silent) != 0 {
		t.Errorf("after it came back: %+v", lacking)
	}
	if text := lacking.String(); !strings.Contains(text, "missing 1 copy") || !strings.Contains(text, "out of place") {
		t.Errorf("it says:\n%s", text)
	}
	for range 2 {
		for _, target := range c.Targets() {
			r := repair.New(repair.Config{Devices: c.Seen(target.Peer), Rings: repairRings{c}, Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler), Counters: repair.NoCounters{},
				Settle: time.Nanosecond})
			for _, l := range c.Locals(target.Peer) {
				r.Pass(t.Context(), l)
			}
		}
	}
	if err := dispersion.Check(report(t, d)); err != nil {
		t.Errorf("after repair: %v", err)
	}
	populate(t, d, 0.02, 14) // again: what is there is used
	if all := report(t, d); all[1].Items != 14 || all[1].Percent() != 100 {
		t.Errorf("populated twice: %+v", all[1])
	}
}

func TestDispersion_ErasureCoded(t *testing.T) {
	c := servertest.NewCluster(t, 6, 1)
	s := codedProxy(t, c, 1, clock.System{}, "")
	d := dispersionOf(c, s, codedRings{clusterRings{clusterRing{c}}})
	populate(t, d, 0.01, 7)
	if all := report(t, d); all[1].Expected != 6*7 || dispersion.Check(all) != nil {
		t.Errorf("of 7 objects in 4+2: %+v", all)
	}
}

func populate(t *testing.T, d *dispersion.Dispersion, coverage float64, want int) {
	t.Helper()
	done, err := d.Populate(t.Context(), coverage)
	if err != nil || len(done) != 2 || done[1].Covered != want {
		t.Fatalf("populated %+v, %v; want %d partitions", done, err, want)
	}
}

func report(t *testing.T, d *dispersion.Dispersion) []dispersion.Report {
	t.Helper()
	all, err := d.Report(t.Context())
	if err != nil || len(all) != 2 {
		t.Fatalf("%+v, %v", all, err)
	}
	return all
}
