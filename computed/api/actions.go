package api

import (
	"net/http"
	"slices"
	"strings"

	"henge/cluster/state"
	"henge/computed/lifecycle"
	"henge/computed/model"
	"henge/computed/neighbour"
	"henge/computed/netcalls"
	"henge/internal/errs"
	"henge/internal/openstack"
)

// action is one of POST /servers/{id}/action: f is its body, {} for null.
type action func(c *call, f *openstack.Fields) error

func (c *call) actions(name string) action {
	switch name {
	case "reboot":
		return reboot
	case "os-start":
		return simple(lifecycle.Start)
	case "os-stop":
		return simple(lifecycle.Stop)
	case "pause":
		return simple(lifecycle.Pause)
	case "unpause":
		return simple(lifecycle.Unpause)
	case "suspend":
		return simple(lifecycle.Suspend)
	case "resume":
		return simple(lifecycle.Resume)
	case "rebuild":
		return rebuild
	case "lock":
		return lock
	case "unlock":
		return unlock
	case "createImage":
		return createImage
	case "forceDelete":
		return func(c *call, f *openstack.Fields) error { return orAccepted(c, c.drop()) }
	case "os-getConsoleOutput":
		return consoleOutput
	case "os-getVNCConsole":
		return oldConsole
	case "addSecurityGroup", "removeSecurityGroup":
		return changeGroups(name == "addSecurityGroup")
	case "addFixedIp":
		return addFixedIP
	case "removeFixedIp":
		return removeFixedIP
	case "addFloatingIp":
		return floatingAction(netcalls.Associate)
	case "removeFloatingIp":
		return floatingAction(netcalls.Disassociate)
	case "os-resetState":
		return resetState
	}
	return nil
}

// notBuilt are the actions that Nova has and we do not, yet.
var notBuilt = []string{"resize", "confirmResize", "revertResize", "shelve", "shelveOffload", "unshelve", "rescue", "unrescue", "migrate", "os-migrateLive", "evacuate", "createBackup",
	"changePassword", "trigger_crash_dump", "restore", "os-getSPICEConsole", "os-getRDPConsole", "os-getSerialConsole", "resetNetwork", "injectNetworkInfo", "addFloatingIp", "removeFloatingIp"}

func serverAction(c *call) error {
	if err := c.member(); err != nil {
		return err
	}
	f, err := c.body("")
	if err != nil {
		return err
	}
	names := f.Names()
	if len(names) != 1 {
		return errs.New(errs.Invalid, "There is no such action: the body names one action, it has %d", len(names))
	}
	name := names[0]
	run := c.actions(name)
	if run == nil {
		if slices.Contains(notBuilt, name) {
			if _, err := c.server(); err != nil {
				return err
			}
			return errs.New(errs.Unsupported, "The action %s is not built here.", name)
		}
		return errs.New(errs.Invalid, "There is no such action: %s", shorten(name))
	}
	inner := f
	if f.Null(name) {
		f.Drop(name)
	} else if raw := f.Raw(name); len(raw) > 0 && raw[0] == '"' { // {"os-start": "x"}: Nova takes anything where it needs nothing
		f.Drop(name)
	} else {
		inner = f.Object(name)
	}
	if err := f.Err(); err != nil {
		return err
	}
	return run(c, inner)
}

func orAccepted(c *call, err error) error {
	if err != nil {
		return err
	}
	return c.empty(http.StatusAccepted)
}

// beginTask starts an action on the server of the path. prepare may look at the server, and change it, before.
func (c *call) beginTask(a lifecycle.Action, prepare func(w state.Writer, s *model.Server) error) (model.Server, error) {
	var s model.Server
	err := c.update(func(w state.Writer) (err error) {
		if s, err = c.findServer(w, c.path("id")); err != nil {
			return err
		}
		if err := c.unlocked(&s); err != nil {
			return err
		}
		if s.Host == "" && s.VM == lifecycle.Error {
			return errs.New(errs.Conflict, "Cannot '%s' instance %s while it is in vm_state error: it has no host", lifecycle.Record(a), s.ID)
		}
		if prepare != nil {
			if err := prepare(w, &s); err != nil {
				return err
			}
		}
		return c.begin(w, &s, a)
	})
	return s, err
}

func simple(a lifecycle.Action) action {
	return func(c *call, _ *openstack.Fields) error {
		_, err := c.beginTask(a, nil)
		return orAccepted(c, err)
	}
}

func reboot(c *call, f *openstack.Fields) error {
	kind := ""
	f.Require("type")
	f.Text("type", &kind, openstack.Text{})
	f.None()
	if f.Err() == nil && kind != strings.ToUpper(kind) && kind != "" {
		kind = strings.ToUpper(kind)
	}
	if f.Err() == nil && kind != "SOFT" && kind != "HARD" {
		f.Fail("type", "'%s' is not one of HARD, SOFT", shorten(kind))
	}
	if err := f.Err(); err != nil {
		return err
	}
	a := lifecycle.RebootSoft
	if kind == "HARD" {
		a = lifecycle.RebootHard
	}
	_, err := c.beginTask(a, nil)
	return orAccepted(c, err)
}

func lock(c *call, f *openstack.Fields) error {
	reason := ""
	if c.at(73) {
		f.Text("locked_reason", &reason, openstack.Text{MinLength: 1})
		f.None()
	}
	if err := f.Err(); err != nil {
		return err
	}
	_, err := c.changeServer(func(w state.Writer, s *model.Server) error {
		s.Locked, s.LockedReason = "owner", reason
		if s.ProjectID != c.who.ProjectID {
			s.Locked = "admin"
		}
		return c.record(w, s.ID, "lock", "")
	})
	return orAccepted(c, err)
}

func unlock(c *call, _ *openstack.Fields) error {
	_, err := c.changeServer(func(w state.Writer, s *model.Server) error {
		if s.Locked == "admin" && !c.admin() {
			return errs.New(errs.Denied, "Policy doesn't allow os_compute_api:os-lock-server:unlock:unlock_override to be performed.")
		}
		s.Locked, s.LockedReason = "", ""
		return c.record(w, s.ID, "unlock", "")
	})
	return orAccepted(c, err)
}

func resetState(c *call, f *openstack.Fields) error {
	if err := c.adminOnly(); err != nil {
		return err
	}
	to := ""
	f.Require("state")
	f.Text("state", &to, openstack.Text{OneOf: []string{"active", "error"}})
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	_, err := c.changeServer(func(_ state.Writer, s *model.Server) error {
		if s.Task != nil && s.Task.Action == lifecycle.Delete {
			return errs.New(errs.Conflict, "Cannot 'reset state' instance %s while it is in task_state deleting", s.ID)
		}
		if s.Host == "" {
			return errs.New(errs.Conflict, "Cannot 'reset state' instance %s: it has no host", s.ID)
		}
		s.State.Task, s.Task, s.VM = "", nil, lifecycle.VM(to)
		return nil
	})
	return orAccepted(c, err)
}

// createImage makes the image's record for the caller; the agent fills it.
func createImage(c *call, f *openstack.Fields) error {
	name, metadata := "", map[string]string{}
	f.Require("name")
	f.Text("name", &name, openstack.Text{MinLength: 1})
	takeMetadata(f, "metadata", &metadata)
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	s, err := c.server()
	if err != nil {
		return err
	}
	if _, err := lifecycle.Begin(s.ID, s.State, s.Task != nil, lifecycle.Snapshot); err != nil {
		return err
	}
	properties := snapshotProperties(c, s, metadata)
	if s.FromVolume() {
		return createVolumeImage(c, s, name, properties)
	}
	image := neighbour.NewImage{Name: name, Format: "qcow2", MinDiskGiB: max(s.Flavor.DiskGiB, s.Image.MinDiskGiB), MinRAMMiB: s.Image.MinRAMMiB, Properties: properties}
	id, err := c.Images.Create(c.r.Context(), c.who, image)
	if err != nil {
		return err
	}
	if _, err = c.beginSnapshot(id); err != nil {
		// The caller hears why there is no image; that its record could not be removed either is the image service's to tell.
		_ = c.Images.Delete(c.r.Context(), c.who, id)
		return err
	}
	return c.imageAccepted(id)
}

func (c *call) imageAccepted(id string) error {
	c.w.Header().Set("Location", c.PublicURL(c.r)+"/images/"+id)
	if c.at(45) {
		return c.json(http.StatusAccepted, document{"image_id": id})
	}
	return c.empty(http.StatusAccepted)
}

func snapshotProperties(c *call, s model.Server, metadata map[string]string) map[string]string {
	properties := map[string]string{"base_image_ref": s.Image.ID, "image_type": "snapshot", "instance_uuid": s.ID, "user_id": c.who.UserID, "image_location": "snapshot"}
	for k, v := range s.Image.Properties {
		if strings.HasPrefix(k, "hw_") || strings.HasPrefix(k, "os_") || k == "architecture" {
			properties[k] = v
		}
	}
	for k, v := range metadata {
		properties[k] = v
	}
	return properties
}

// beginSnapshot starts the copy into an image.
func (c *call) beginSnapshot(imageID string) (model.Server, error) {
	c.imageID = imageID
	return c.beginTask(lifecycle.Snapshot, nil)
}

func rebuild(c *call, f *openstack.Fields) error {
	imageID, name, password := "", "", password()
	var description, userData *string
	metadata := map[string]string(nil)
	f.Require("imageRef")
	takeRef(f, "imageRef", &imageID)
	f.Text("name", &name, openstack.Text{})
	f.Text("adminPass", &password, openstack.Text{})
	takeMetadata(f, "metadata", &metadata)
	preserve := false
	takeBool(f, "preserve_ephemeral", &preserve)
	f.Drop("OS-DCF:diskConfig", "accessIPv4", "accessIPv6")
	if c.at(19) && f.Has("description") {
		description = new(string)
		f.Text("description", description, openstack.Text{Nullable: true})
	}
	if c.at(57) && f.Has("user_data") {
		userData = new(string)
		f.Text("user_data", userData, openstack.Text{MaxLength: userDataBytesMax, Nullable: true})
	}
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	image, err := c.Images.Describe(c.r.Context(), c.who, imageID)
	if err != nil {
		return asInvalid(err)
	}
	if err := checkImage(image); err != nil {
		return err
	}
	s, err := c.beginTask(lifecycle.Rebuild, func(w state.Writer, s *model.Server) error {
		if s.Image.ID == "" {
			return errs.New(errs.Invalid, "Unable to rebuild with a different image for a volume-backed server.")
		}
		s.Image = image.Image
		if name != "" {
			s.Name = name
		}
		if description != nil {
			s.Description = *description
		}
		if metadata != nil {
			s.Metadata = metadata
		}
		for i := range s.Disks {
			if s.Disks[i].Local && s.Disks[i].Boot {
				s.Disks[i].SourceID = imageID
			}
		}
		s.Fault = nil
		if userData != nil {
			if err := model.UserDatas.Put(w, s.ID, model.UserData{ServerID: s.ID, Data: *userData}); err != nil {
				return err
			}
		}
		return checkFits(s)
	})
	if err != nil {
		return err
	}
	d, err := c.oneServer(s)
	if err != nil {
		return err
	}
	d["adminPass"] = password
	return c.json(http.StatusAccepted, document{"server": c.changedServer(d)})
}
