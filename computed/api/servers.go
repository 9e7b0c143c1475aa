package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"henge/cluster/state"
	"henge/computed/hosts"
	"henge/computed/lifecycle"
	"henge/computed/listing"
	"henge/computed/model"
	"henge/internal/errs"
	"henge/internal/openstack"
)

// findServer finds one that the caller may see.
func (c *call) findServer(r state.Reader, id string) (model.Server, error) {
	s, err := model.Servers.Get(r, id)
	if errs.Is(err, errs.NotFound) || err == nil && !c.sees(&s) {
		return s, errs.New(errs.NotFound, "Instance %s could not be found.", shorten(id))
	}
	return s, err
}

// server is the one of the path, for readers.
func (c *call) server() (s model.Server, err error) {
	if err := c.reader(); err != nil {
		return s, err
	}
	err = c.view(func(r state.Reader) (err error) {
		s, err = c.findServer(r, c.path("id"))
		return err
	})
	return s, err
}

// sharedServer is server, not to be modified.
func (c *call) sharedServer() (s *model.Server, err error) {
	if err := c.reader(); err != nil {
		return nil, err
	}
	err = c.view(func(r state.Reader) (err error) {
		s, err = c.servers.Get(r, c.path("id"))
		if errs.Is(err, errs.NotFound) || err == nil && !c.sees(s) {
			err = errs.New(errs.NotFound, "Instance %s could not be found.", shorten(c.path("id")))
		}
		return err
	})
	return s, err
}

// sees tells whether the caller may see a server.
func (c *call) sees(s *model.Server) bool { return s.ProjectID == c.who.ProjectID || c.admin() }

func showServer(c *call) error {
	s, err := c.sharedServer()
	if err != nil {
		return err
	}
	docs, err := c.encodeServers([]*model.Server{s}, true)
	if err != nil {
		return err
	}
	if !c.at(71) {
		return c.json(http.StatusOK, document{"server": json.RawMessage(docs[0])})
	}
	groups := `,"server_groups":[]}`
	if s.GroupID != "" {
		groups = `,"server_groups":[` + jsonText(s.GroupID) + `]}`
	}
	return c.json(http.StatusOK, document{"server": json.RawMessage(string(docs[0][:len(docs[0])-1]) + groups)})
}

func (c *call) oneServer(s model.Server) (document, error) {
	x, err := c.gatherFor(s)
	if err != nil {
		return nil, err
	}
	return c.fullServer(s, x), nil
}

func listServers(c *call) error       { return listServersAs(c, "servers", false) }
func listServersDetail(c *call) error { return listServersAs(c, "servers/detail", true) }

func listServersAs(c *call, path string, detailed bool) error {
	if err := c.reader(); err != nil {
		return err
	}
	query := c.r.URL.Query()
	p, err := parsePage(query)
	if err != nil {
		return err
	}
	order, err := parseSorting(query, serverSortKeys, sorting{Key: "created_at", Down: true}, sorting{Key: "uuid", Down: true})
	if err != nil {
		return err
	}
	keep, everywhere, err := c.serverFilter(query)
	if err != nil {
		return err
	}
	var all []*model.Server
	err = c.view(func(r state.Reader) error {
		rows := c.servers.Where(r, "project", c.who.ProjectID)
		if everywhere {
			rows = c.servers.All(r)
		}
		for s, err := range rows {
			if err != nil {
				return err
			}
			if keep(s) {
				all = append(all, s)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	sortServers(order, all)
	return c.answerServers(path, detailed, p, all)
}

func (c *call) answerServers(path string, detailed bool, p page, all []*model.Server) error {
	rows, more, err := listing.Cut(p, all, func(s *model.Server) string { return s.ID })
	if err != nil {
		return err
	}
	docs, err := c.encodeServers(rows, detailed)
	if err != nil {
		return err
	}
	rest := document{}
	if more {
		c.addNext(rest, "servers", rows[len(rows)-1].ID, path)
	}
	return openstack.WriteList(c.w, "servers", docs, rest)
}

type condition = func(*model.Server) bool

// serverFilter builds the condition that a query states, and whether it goes over all projects.
func (c *call) serverFilter(query url.Values) (keep condition, everywhere bool, err error) {
	if text := query.Get("all_tenants"); query.Has("all_tenants") && (text == "" || isTrue(text)) {
		if err := c.adminOnly(); err != nil {
			return nil, false, errs.New(errs.Denied, "Policy doesn't allow os_compute_api:servers:%s:get_all_tenants to be performed.", "index")
		}
		everywhere = true
	} else if query.Has("all_tenants") && !isFalse(text) {
		return nil, false, errs.New(errs.Invalid, "Invalid value '%s' for all_tenants", shorten(text))
	}
	var all []condition
	for name, values := range query {
		cond, err := c.oneFilter(name, values)
		if err != nil {
			return nil, false, err
		}
		if cond != nil {
			all = append(all, cond)
		}
	}
	return func(s *model.Server) bool {
		return !slices.ContainsFunc(all, func(cond condition) bool { return !cond(s) })
	}, everywhere, nil
}

// oneFilter is the condition of one parameter; nil for those that are none. Names that Nova ignores are ignored, as are those for admins only.
func (c *call) oneFilter(name string, values []string) (condition, error) {
	v := values[len(values)-1]
	switch name {
	case "name", "ip", "ip6":
		pattern, err := regexp.Compile(v)
		if err != nil {
			return nil, errs.New(errs.Invalid, "Invalid filter expression '%s' for %s", shorten(v), name)
		}
		if name == "name" {
			return func(s *model.Server) bool { return pattern.MatchString(s.Name) }, nil
		}
		return func(s *model.Server) bool { return matchesAddress(s, pattern, name == "ip") }, nil
	case "status":
		return c.statusFilter(values)
	case "changes-since", "changes-before":
		t, err := parseTime(name, v)
		since := name == "changes-since"
		return func(s *model.Server) bool { return since != s.Updated.Before(t) || s.Updated.Equal(t) }, err
	case "tags", "tags-any", "not-tags", "not-tags-any":
		return tagFilter(name, strings.Split(v, ",")), nil
	case "deleted":
		if c.admin() && isTrue(v) {
			return func(*model.Server) bool { return false }, nil // what is deleted is gone
		}
	case "host", "node", "hypervisor_hostname":
		if c.admin() {
			return c.hostFilter(v)
		}
	case "project_id", "tenant_id", "user_id", "reservation_id", "launch_index", "power_state", "vm_state", "task_state":
		if c.admin() {
			return func(s *model.Server) bool { return filterText(name, s) == v }, nil
		}
	case "image", "flavor", "uuid", "key_name", "availability_zone", "locked", "config_drive", "description", "hostname", "access_ip_v4", "access_ip_v6":
		return func(s *model.Server) bool { return matchesField(name, s, v) }, nil
	}
	return nil, nil
}

func (c *call) hostFilter(name string) (condition, error) {
	ids := map[string]bool{}
	err := c.view(func(r state.Reader) error {
		all, err := hosts.All(r)
		for _, h := range all {
			ids[h.ID] = h.Name == name
		}
		return err
	})
	return func(s *model.Server) bool { return ids[s.Host] }, err
}

func matchesField(name string, s *model.Server, v string) bool {
	switch name {
	case "locked":
		return (s.Locked != "") == isTrue(v)
	case "config_drive":
		return s.ConfigDrive == isTrue(v)
	case "image", "flavor":
		v = v[strings.LastIndexByte(v, '/')+1:]
	}
	return filterText(name, s) == v
}

func filterText(name string, s *model.Server) string {
	switch name {
	case "image":
		return s.Image.ID
	case "flavor":
		return s.Flavor.ID
	case "project_id", "tenant_id":
		return s.ProjectID
	case "reservation_id":
		return s.ReservationID
	case "launch_index":
		return formatInt(int64(s.LaunchIndex))
	case "power_state":
		return formatInt(int64(s.Power))
	case "description":
		return s.Description
	}
	return sortText(name, s)
}

func matchesAddress(s *model.Server, pattern *regexp.Regexp, four bool) bool {
	for _, n := range s.NICs {
		for _, a := range n.Addresses {
			if ip, err := netip.ParseAddr(a.IP); err == nil && ip.Is4() == four && pattern.MatchString(a.IP) {
				return true
			}
		}
	}
	return false
}

func (c *call) statusFilter(values []string) (condition, error) {
	var wanted []string
	for _, v := range values {
		v = strings.ToUpper(v)
		if slices.Contains(lifecycle.Statuses(), v) || v == "SHUTOFF" {
			wanted = append(wanted, v)
			continue
		}
		if c.at(38) {
			return nil, errs.New(errs.Invalid, "Invalid status value '%s'", shorten(v))
		}
	}
	return func(s *model.Server) bool { return slices.Contains(wanted, lifecycle.Status(s.State)) }, nil
}

func tagFilter(name string, wanted []string) condition {
	return func(s *model.Server) bool {
		some, all := false, true
		for _, t := range wanted {
			if slices.Contains(s.Tags, t) {
				some = true
			} else {
				all = false
			}
		}
		return map[string]bool{"tags": all, "tags-any": some, "not-tags": !all, "not-tags-any": !some}[name]
	}
}

// changeServer applies a change to the server of the path, for members of its project.
func (c *call) changeServer(change func(w state.Writer, s *model.Server) error) (model.Server, error) {
	var s model.Server
	if err := c.member(); err != nil {
		return s, err
	}
	err := c.update(func(w state.Writer) (err error) {
		if s, err = c.findServer(w, c.path("id")); err != nil {
			return err
		}
		if err := change(w, &s); err != nil {
			return err
		}
		s.Updated = c.Clock.Now()
		return model.Servers.Put(w, s.ID, s)
	})
	return s, err
}

// unlocked refuses changes of a locked server; admins may, and its owner if it was he who locked it only by unlocking first.
func (c *call) unlocked(s *model.Server) error {
	if s.Locked != "" && !c.admin() {
		return errs.New(errs.Conflict, "Instance %s is locked", s.ID)
	}
	return nil
}

func updateServer(c *call) error {
	f, err := c.body("server")
	if err != nil {
		return err
	}
	var name, description, four, six, host *string
	take := func(field string, into **string, rule openstack.Text) {
		if f.Has(field) {
			*into = new(string)
			f.Text(field, *into, rule)
		}
	}
	take("name", &name, openstack.Text{MinLength: 1})
	take("accessIPv4", &four, openstack.Text{Nullable: true})
	take("accessIPv6", &six, openstack.Text{Nullable: true})
	if c.at(19) {
		take("description", &description, openstack.Text{Nullable: true})
	}
	if c.at(90) {
		take("hostname", &host, openstack.Text{MinLength: 2, MaxLength: 63})
	}
	disk := ""
	f.Text("OS-DCF:diskConfig", &disk, openstack.Text{OneOf: []string{"AUTO", "MANUAL"}})
	f.None()
	if four != nil {
		checkIP(f, "accessIPv4", four, true)
	}
	if six != nil {
		checkIP(f, "accessIPv6", six, false)
	}
	if err := f.Err(); err != nil {
		return err
	}
	s, err := c.changeServer(func(_ state.Writer, s *model.Server) error {
		for _, set := range []struct{ from, to *string }{{name, &s.Name}, {description, &s.Description}, {four, &s.AccessIPv4}, {six, &s.AccessIPv6}, {host, &s.Hostname}, {&disk, &s.DiskConfig}} {
			if set.from != nil && (set.from != &disk || disk != "") {
				*set.to = *set.from
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	d, err := c.oneServer(s)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"server": c.changedServer(d)})
}

// changedServer is what an update or rebuild shows: before 2.75 only the core of the server.
func (c *call) changedServer(d document) document {
	if c.at(75) {
		return d
	}
	for name := range d {
		if strings.HasPrefix(name, "OS-EXT-") || strings.HasPrefix(name, "OS-SRV-USG") || strings.HasPrefix(name, "os-extended") {
			delete(d, name)
		}
	}
	for _, name := range []string{"key_name", "config_drive", "security_groups", "host_status"} {
		delete(d, name)
	}
	return d
}

func deleteServer(c *call) error {
	if err := c.drop(); err != nil {
		return err
	}
	return c.empty(http.StatusNoContent)
}

// drop asks for the end of the server of the path: its host sees to it. One that never found a host ends at once.
func (c *call) drop() error {
	if err := c.member(); err != nil {
		return err
	}
	return c.update(func(w state.Writer) error {
		s, err := c.findServer(w, c.path("id"))
		if err != nil {
			return err
		}
		if err := c.unlocked(&s); err != nil {
			return err
		}
		switch {
		case s.Host == "":
			return errors.Join(c.Scheduler.Release(w, s.ID), model.Remove(w, s))
		case s.Task != nil && s.Task.Action == lifecycle.Delete:
			return nil
		}
		return c.begin(w, &s, lifecycle.Delete)
	})
}

// begin gives a server its next task and stores it.
func (c *call) begin(w state.Writer, s *model.Server, a lifecycle.Action) (err error) {
	if s.State, err = lifecycle.Begin(s.ID, s.State, s.Task != nil, a); err != nil {
		return err
	}
	s.Task, s.Updated = c.task(a), c.Clock.Now()
	if err := model.Servers.Put(w, s.ID, *s); err != nil {
		return err
	}
	return c.record(w, s.ID, lifecycle.Record(a), "")
}

func (c *call) task(a lifecycle.Action) *model.Task {
	return &model.Task{Action: a, ImageID: c.imageID, RequestID: c.requestID, UserID: c.who.UserID, ProjectID: c.who.ProjectID, Started: c.Clock.Now()}
}

// actionsMax bounds what is remembered of one server: the oldest goes first.
const actionsMax = 100

// record remembers what was asked of a server.
func (c *call) record(w state.Writer, serverID, action, message string) error {
	var oldest model.ActionRecord
	n := 0
	for a, err := range model.Actions.Where(w, "server", serverID) {
		if err != nil {
			return err
		}
		if n++; n == 1 || a.Started.Before(oldest.Started) {
			oldest = a
		}
	}
	if n >= actionsMax {
		if err := model.Actions.Delete(w, model.ActionID(serverID, oldest.RequestID)); err != nil {
			return err
		}
	}
	now := c.Clock.Now()
	a := model.ActionRecord{ServerID: serverID, RequestID: c.requestID, Action: action, UserID: c.who.UserID, ProjectID: c.who.ProjectID, Started: now, Updated: now, Message: message}
	if message != "" {
		a.Events = []model.Event{{Name: "conductor_schedule_and_build_instances", Started: now, Ended: now, Result: "Error", Details: message}}
	}
	return model.Actions.Put(w, model.ActionID(serverID, c.requestID), a)
}

func actionDocument(c *call, a model.ActionRecord) document {
	d := document{"action": a.Action, "instance_uuid": a.ServerID, "request_id": a.RequestID, "user_id": a.UserID, "project_id": a.ProjectID, "start_time": micros(a.Started),
		"message": orNull(a.Message)}
	if c.at(58) {
		d["updated_at"] = micros(a.Updated)
	}
	return d
}

func listActions(c *call) error {
	s, err := c.server()
	if err != nil {
		return err
	}
	query := c.r.URL.Query()
	p := page{Limit: listing.RowsMax}
	var since, before time.Time
	if c.at(58) {
		if p, err = parsePage(query); err != nil {
			return err
		}
		if query.Has("changes-since") {
			if since, err = parseTime("changes-since", query.Get("changes-since")); err != nil {
				return err
			}
		}
		if query.Has("changes-before") && c.at(66) {
			if before, err = parseTime("changes-before", query.Get("changes-before")); err != nil {
				return err
			}
		}
	}
	var all []model.ActionRecord
	err = c.view(func(r state.Reader) error {
		for a, err := range model.Actions.Where(r, "server", s.ID) {
			if err != nil {
				return err
			}
			if !a.Updated.Before(since) && (before.IsZero() || !a.Updated.After(before)) {
				all = append(all, a)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b model.ActionRecord) int { return b.Started.Compare(a.Started) })
	rows, more, err := listing.Cut(p, all, func(a model.ActionRecord) string { return a.RequestID })
	if err != nil {
		return err
	}
	docs := []document{}
	for _, a := range rows {
		docs = append(docs, actionDocument(c, a))
	}
	answer := document{"instanceActions": docs}
	if more {
		c.addNext(answer, "links", rows[len(rows)-1].RequestID, "servers", s.ID, "os-instance-actions")
		answer["links"] = answer["links_links"]
		delete(answer, "links_links")
	}
	return c.json(http.StatusOK, answer)
}

func showAction(c *call) error {
	s, err := c.server()
	if err != nil {
		return err
	}
	var a model.ActionRecord
	err = c.view(func(r state.Reader) (err error) {
		a, err = model.Actions.Get(r, model.ActionID(s.ID, c.path("request")))
		return err
	})
	if errs.Is(err, errs.NotFound) {
		return errs.New(errs.NotFound, "Action %s not found", shorten(c.path("request")))
	}
	if err != nil {
		return err
	}
	d := actionDocument(c, a)
	if c.admin() || c.at(51) {
		events := []document{}
		for _, e := range a.Events {
			ev := document{"event": e.Name, "start_time": micros(e.Started), "finish_time": micros(e.Ended), "result": orNull(e.Result), "traceback": nil}
			if c.at(62) {
				ev["hostId"] = hostID(s.ProjectID, e.Host)
				if c.admin() {
					ev["host"] = orNull(e.Host)
				}
			}
			if c.at(84) {
				ev["details"] = orNull(e.Details)
			}
			events = append(events, ev)
		}
		d["events"] = events
	}
	return c.json(http.StatusOK, document{"instanceAction": d})
}

// serverMigrations is empty: no server moves between hosts yet.
func serverMigrations(c *call) error {
	if err := c.cameWith(23); err != nil {
		return err
	}
	if err := c.adminOnly(); err != nil {
		return err
	}
	if _, err := c.server(); err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"migrations": []any{}})
}
