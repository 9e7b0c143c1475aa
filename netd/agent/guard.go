package agent

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"henge/netd/kernel"
	"henge/netd/wire"
)

func (a *Agent) forgetFilter() { a.filter, a.sets = [2]map[string]string{}, nil }

// checkFilter compares the packet filter with what was put in force. The kernel prints rules in words of its own: names and numbers of rules have to do.
func (a *Agent) checkFilter() error {
	for i, six := range []bool{false, true} {
		if a.filter[i] == nil {
			continue
		}
		there, err := a.kernel.Filter(six)
		if err != nil {
			return err
		}
		if missingHooks(there) != "" {
			return errors.New("the packet filter does not call our chains")
		}
		chains := map[string]int{}
		for _, table := range there {
			for name, rules := range table {
				if wire.OurChain(name) {
					chains[name] = len(rules)
				}
			}
		}
		for name, text := range a.filter[i] {
			if n, ok := chains[name]; !ok || text != "" && n != strings.Count(text, "\n") {
				return fmt.Errorf("chain %s is not as it was made", name)
			}
			delete(chains, name)
		}
		if len(chains) > 0 {
			return errors.New("there are chains that are not wanted")
		}
	}
	return nil
}

// guard puts the packet filter in force, and answers the ports whose rules the kernel would not take: those let nothing pass.
func (a *Agent) guard(want wire.Desired) map[string]error {
	lost := a.filter[0] == nil
	setErrs := a.fillSets(want, &lost)
	bad := map[string]error{}
	for i, six := range []bool{false, true} {
		if err := a.filterFamily(want, i, six, bad, &lost); err != nil {
			a.faults["filter"] = err
			for _, p := range want.Ports {
				bad[p.ID] = err
			}
			a.filter[i] = nil
			return bad
		}
	}
	delete(a.faults, "filter")
	a.dropSets(want)
	for _, p := range want.Ports {
		for _, r := range p.Rules {
			if err := setErrs[r.Set]; err != nil {
				bad[p.ID] = err
			}
		}
	}
	if lost {
		a.cut(want)
	}
	a.last = want
	return bad
}

// cut ends the connections that the rules would not let begin any more, and those of ports that are gone.
func (a *Agent) cut(want wire.Desired) {
	left := wire.Desired{}
	for _, p := range a.last.Ports {
		if !slices.ContainsFunc(want.Ports, func(q wire.Port) bool { return q.ID == p.ID }) {
			p.Rules = nil
			left.Ports = append(left.Ports, p)
		}
	}
	_, err := a.kernel.Cut(func(f kernel.Flow) bool {
		flow := wire.Flow{Zone: f.Zone, Protocol: f.Protocol, Src: f.Src, Dst: f.Dst, DstPort: f.DstPort}
		return want.Permits(flow) && left.Permits(flow)
	})
	if err != nil {
		a.cfg.Logger.Warn("end connections", "error", err)
	}
}

// fillSets brings the sets of remote groups up to date, before rules name them.
func (a *Agent) fillSets(want wire.Desired, lost *bool) map[string]error {
	bad := map[string]error{}
	if a.sets == nil {
		a.sets = map[string]string{}
	}
	for name, s := range want.Sets {
		script := s.Script(name)
		was, there := a.sets[name]
		if there && was == script {
			continue
		}
		*lost = *lost || missing(was, script)
		if err := a.kernel.IPSet(script); err != nil {
			bad[name] = err
			delete(a.sets, name)
			continue
		}
		a.sets[name] = script
	}
	return bad
}

// dropSets removes sets that no rule names any more, ours from before included.
func (a *Agent) dropSets(want wire.Desired) {
	names := slices.Collect(maps.Keys(a.sets))
	if _, known := a.done["sets"]; !known {
		all, err := a.kernel.IPSets()
		if err != nil {
			return
		}
		names = all
		a.done["sets"] = true
	}
	for _, name := range names {
		if _, ok := want.Sets[name]; !ok && wire.OurSet(name) {
			_ = a.kernel.IPSet("destroy " + name + "\n") // still in use after a failure: next time
			delete(a.sets, name)
		}
	}
}

// filterFamily exchanges the chains that changed, all at once. When the kernel refuses, the ports that it refuses are found one by one, and closed.
func (a *Agent) filterFamily(want wire.Desired, i int, six bool, bad map[string]error, lost *bool) error {
	chains := want.Chains(six)
	hooks, old := "", []wire.Chain(nil)
	if a.filter[i] == nil {
		there, err := a.kernel.Filter(six)
		if err != nil {
			return err
		}
		a.filter[i] = map[string]string{}
		hooks, old = missingHooks(there), leftChains(there, chains)
	}
	for name := range a.filter[i] {
		if !slices.ContainsFunc(chains, func(c wire.Chain) bool { return c.Name == name }) {
			old = append(old, wire.Chain{Table: "filter", Name: name})
			*lost = true
		}
	}
	var changed []wire.Chain
	for _, c := range chains {
		if was, ok := a.filter[i][c.Name]; !ok || was != text(c) {
			*lost = *lost || missing(was, text(c))
			changed = append(changed, c)
		}
	}
	if len(changed)+len(old) == 0 && hooks == "" {
		return nil
	}
	if err := a.kernel.Restore(six, document(changed, old, hooks)); err != nil {
		changed = a.closeRefused(six, changed, bad)
		if there, err := a.kernel.Filter(six); err == nil && hooks != "" {
			hooks = missingHooks(there) // tables before the one that was refused may have come in
		}
		if err := a.kernel.Restore(six, document(changed, old, hooks)); err != nil {
			return err
		}
	}
	for _, c := range changed {
		if a.filter[i][c.Name] = text(c); bad[c.Port] != nil {
			a.filter[i][c.Name] = "" // to be tried again
		}
	}
	for _, c := range old {
		delete(a.filter[i], c.Name)
	}
	return nil
}

// closeRefused tries the changed chains of each port by themselves, and closes those that the kernel does not take.
func (a *Agent) closeRefused(six bool, changed []wire.Chain, bad map[string]error) []wire.Chain {
	out := slices.Clone(changed)
	for i, c := range out {
		if c.Port == "" {
			continue
		}
		if err := a.kernel.Restore(six, document([]wire.Chain{c}, nil, "")); err != nil {
			bad[c.Port] = fmt.Errorf("security group rules: %w", err)
			out[i].Rules = []string{"-j DROP"}
		}
	}
	return out
}

func text(c wire.Chain) string {
	if len(c.Rules) == 0 {
		return ""
	}
	return strings.Join(c.Rules, "\n") + "\n"
}

// missing tells whether a line of was is not in is.
func missing(was, is string) bool {
	lines := map[string]bool{}
	for l := range strings.Lines(is) {
		lines[l] = true
	}
	for l := range strings.Lines(was) {
		if !lines[l] {
			return true
		}
	}
	return false
}

// document writes chains in the words of iptables-restore.
func document(chains, old []wire.Chain, hooks string) string {
	var b strings.Builder
	for _, table := range []string{"raw", "nat", "filter"} {
		var head, body strings.Builder
		for _, c := range chains {
			if c.Table != table {
				continue
			}
			fmt.Fprintf(&head, ":%s - [0:0]\n", c.Name)
			for _, r := range c.Rules {
				fmt.Fprintf(&body, "-A %s %s\n", c.Name, r)
			}
		}
		for _, c := range old {
			if c.Table == table {
				fmt.Fprintf(&head, ":%s - [0:0]\n", c.Name)
				fmt.Fprintf(&body, "-X %s\n", c.Name)
			}
		}
		for line := range strings.Lines(hooks) {
			if rule, ok := strings.CutPrefix(line, table+" "); ok {
				body.WriteString(rule)
			}
		}
		if head.Len()+body.Len() > 0 {
			fmt.Fprintf(&b, "*%s\n%s%sCOMMIT\n", table, head.String(), body.String())
		}
	}
	return b.String()
}

// missingHooks are the calls of our chains that are not there: lines of a table and an insertion.
func missingHooks(there map[string]map[string][]string) string {
	var b strings.Builder
	for _, h := range wire.Hooks() {
		if !slices.Contains(there[h.Table][h.From], "-j "+h.To) {
			fmt.Fprintf(&b, "%s -I %s -j %s\n", h.Table, h.From, h.To)
		}
	}
	return b.String()
}

// leftChains are chains of ours from before that are not wanted.
func leftChains(there map[string]map[string][]string, wanted []wire.Chain) []wire.Chain {
	var old []wire.Chain
	for table, chains := range there {
		for name := range chains {
			if wire.OurChain(name) && !slices.ContainsFunc(wanted, func(c wire.Chain) bool { return c.Name == name && c.Table == table }) {
				old = append(old, wire.Chain{Table: table, Name: name})
			}
		}
	}
	return old
}

// sweep removes what is ours and not wanted: devices, namespaces, anti-spoofing tables.
func (a *Agent) sweep(want wire.Desired) error {
	devices, spaces := map[string]bool{}, map[string]bool{}
	for _, n := range want.Networks {
		devices[n.Bridge], devices[n.VXLAN] = true, true
		if n.DHCP != nil {
			devices[n.DHCP.Leg], spaces[n.DHCP.Namespace] = true, true
		}
	}
	tables := map[string]bool{}
	for _, p := range want.Ports {
		devices[p.Tap], tables[wire.SpoofTable(p.Tap)] = true, p.Secure
	}
	for _, r := range want.Routers {
		spaces[r.Namespace] = true
		for _, l := range r.Legs {
			devices[l.Outside] = r.Up
		}
	}
	a.forget(want)
	return errors.Join(a.sweepSpaces(spaces), a.sweepDevices(devices), a.sweepTables(tables))
}

func (a *Agent) sweepSpaces(wanted map[string]bool) error {
	names, err := a.kernel.Namespaces()
	bad := []error{err}
	for _, name := range names {
		if wire.OurNamespace(name) && !wanted[name] {
			a.stopService(name)
			bad = append(bad, a.kernel.DeleteNamespace(name))
		}
	}
	return errors.Join(bad...)
}

func (a *Agent) sweepDevices(wanted map[string]bool) error {
	links, err := a.kernel.Links()
	bad := []error{err}
	for name := range links {
		if wire.Ours(name) && !wanted[name] {
			bad = append(bad, a.kernel.Delete(name))
		}
	}
	return errors.Join(bad...)
}

func (a *Agent) sweepTables(wanted map[string]bool) error {
	held := slices.Sorted(maps.Keys(wanted))
	if was, ok := a.done["tables"]; ok && slices.Equal(was.([]string), held) {
		return nil
	}
	names, err := a.kernel.GuardTables()
	bad := []error{err}
	for name, guarded := range wanted {
		if guarded && !slices.Contains(names, name) {
			a.missed = append(a.missed, name)
		}
	}
	for _, name := range names {
		if wire.OurSpoofTable(name) && !wanted[name] {
			bad = append(bad, a.kernel.NFT("delete table netdev "+name+"\n"))
		}
	}
	if err := errors.Join(bad...); err != nil {
		return err
	}
	a.done["tables"] = held
	return nil
}

// forget drops what is known of things that are not wanted any more.
func (a *Agent) forget(want wire.Desired) {
	keep := map[string]bool{"sets": true, "tables": true, "filter": true, "pass": true}
	for _, p := range a.cfg.Physical {
		keep[key("physical", p.Name)] = true
	}
	for id := range want.Networks {
		keep[key("network", id)] = true
	}
	for _, p := range want.Ports {
		keep[key("port", p.ID)] = true
	}
	for _, r := range want.Routers {
		keep[key("router", r.ID)] = true
	}
	maps.DeleteFunc(a.done, func(k string, _ any) bool { return !keep[k] })
	maps.DeleteFunc(a.faults, func(k string, _ error) bool { return !keep[k] })
}
