package computed

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"henge/cluster/state"
	"henge/computed/hypervisor"
	"henge/computed/model"
	"henge/internal/errs"
)

func TestServerLife(t *testing.T) {
	c := newCloud(t)
	id := c.create(plain)
	c.until(id, "ACTIVE")
	shown := c.want(200, c.call("alice 2.90", "GET", "/servers/"+id, ""))
	if shown.text("server.name") != "web" || len(shown.at("server.addresses").(map[string]any)["net-n1"].([]any)) != 1 || shown.text("server.flavor.original_name") != "m1.nano" {
		t.Errorf("shown: %s", shown.body)
	}
	for _, step := range []struct{ body, status string }{
		{`{"os-stop": null}`, "SHUTOFF"}, {`{"os-start": null}`, "ACTIVE"}, {`{"pause": null}`, "PAUSED"}, {`{"unpause": null}`, "ACTIVE"}, {`{"suspend": null}`, "SUSPENDED"},
		{`{"resume": null}`, "ACTIVE"}, {`{"reboot": {"type": "SOFT"}}`, "ACTIVE"}, {`{"reboot": {"type": "HARD"}}`, "ACTIVE"}, {`{"rebuild": {"imageRef": "img", "name": "again"}}`, "ACTIVE"},
	} {
		c.want(202, c.call("alice", "POST", "/servers/"+id+"/action", step.body))
		c.until(id, step.status)
	}
	c.driver.Die(id)
	c.until(id, "SHUTOFF")
	actions := c.want(200, c.call("alice", "GET", "/servers/"+id+"/os-instance-actions", "")).list("instanceActions")
	if len(actions) != 10 {
		t.Errorf("%d actions: %v", len(actions), actions)
	}
	c.want(204, c.call("alice", "DELETE", "/servers/"+id, ""))
	c.until(id, "GONE")
	c.empty()
}

// TestDeleteAtAnyMoment stops a boot at each call that it makes of others, and deletes the server there.
func TestDeleteAtAnyMoment(t *testing.T) {
	for _, moment := range []string{"create port", "after create port", "create volume", "after create volume", "reserve", "after reserve", "connect", "wire", "open image",
		"define", "start", "complete"} {
		t.Run(moment, func(t *testing.T) {
			c := newCloud(t)
			reached, goOn := make(chan struct{}), make(chan struct{})
			var once sync.Once
			stop := func(call, _ string) error {
				if call == moment {
					once.Do(func() { close(reached); <-goOn })
				}
				return nil
			}
			c.world.Fail(stop)
			c.driver.Fail(stop)
			id := c.create(`{"server": {"name": "x", "flavorRef": "42", "imageRef": "img", "networks": [{"uuid": "n1"}], "block_device_mapping_v2": [
				{"source_type": "image", "destination_type": "local", "uuid": "img", "boot_index": 0},
				{"source_type": "blank", "destination_type": "volume", "volume_size": 1, "delete_on_termination": true}]}}`)
			<-reached
			c.want(204, c.call("alice", "DELETE", "/servers/"+id, ""))
			close(goOn)
			c.until(id, "GONE")
			c.empty()
		})
	}
}

// TestAgentKilledInABoot: what it had begun, the next one finishes.
func TestAgentKilledInABoot(t *testing.T) {
	for _, moment := range []string{"create port", "after create port", "wire", "open image", "define", "start"} {
		t.Run(moment, func(t *testing.T) {
			c := newCloud(t)
			reached := make(chan struct{})
			var once sync.Once
			dead := func(call, _ string) error {
				if call == moment {
					once.Do(func() { close(reached) })
					return errors.Join(errors.New("killed"), hypervisor.ErrDown)
				}
				return nil
			}
			c.world.Fail(dead)
			c.driver.Fail(dead)
			id := c.create(plain)
			<-reached
			c.stop()
			c.world.Fail(nil)
			c.driver.Fail(nil)
			c.start()
			c.until(id, "ACTIVE")
			c.want(204, c.call("alice", "DELETE", "/servers/"+id, ""))
			c.until(id, "GONE")
			c.empty()
		})
	}
}

// TestBuildFails: the fault is what failed below, in its own words, and nothing stays.
func TestBuildFails(t *testing.T) {
	for moment, cause := range map[string]error{
		"wire":        errs.New(errs.Internal, "VNI 792 needs MTU 1500, eth1 has 1400"),
		"open image":  errs.New(errs.NoSpace, "cache the image: no space left on device"),
		"start":       errs.New(errs.Internal, "libvirt: cannot set up guest memory 'pc.ram'"),
		"create port": errs.New(errs.Quota, "Quota exceeded for resources: ['port']."),
		"connect":     errs.New(errs.Denied, "the CHAP secret is wrong"),
	} {
		t.Run(moment, func(t *testing.T) {
			c := newCloud(t)
			c.world.AddVolume("33333333-3333-3333-3333-333333333333", 1, true)
			fail := func(call, _ string) error {
				if call == moment {
					return cause
				}
				return nil
			}
			c.world.Fail(fail)
			c.driver.Fail(fail)
			id := c.create(`{"server": {"name": "x", "flavorRef": "42", "imageRef": "img", "networks": [{"uuid": "n1"}], "block_device_mapping_v2": [
				{"source_type": "image", "destination_type": "local", "uuid": "img", "boot_index": 0},
				{"source_type": "volume", "destination_type": "volume", "uuid": "33333333-3333-3333-3333-333333333333"}]}}`)
			c.until(id, "ERROR")
			shown := c.want(200, c.call("alice", "GET", "/servers/"+id, ""))
			if !strings.Contains(shown.text("server.fault.message"), cause.Error()) {
				t.Errorf("fault: %s", shown.body)
			}
			if left := c.world.Left(); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			if s := c.world.VolumeStatus("33333333-3333-3333-3333-333333333333"); s != "available" {
				t.Errorf("the volume is %s", s)
			}
			c.world.Fail(nil)
			c.driver.Fail(nil)
			c.want(204, c.call("alice", "DELETE", "/servers/"+id, ""))
			c.until(id, "GONE")
			c.empty()
		})
	}
}

func TestNoValidHost(t *testing.T) {
	c := newCloud(t)
	c.want(200, c.call("admin", "POST", "/flavors", `{"flavor": {"name": "huge", "id": "huge", "vcpus": 65, "ram": 64, "disk": 0}}`))
	c.want(200, c.call("admin", "PUT", "/os-quota-sets/"+p1, `{"quota_set": {"cores": -1}}`))
	id := c.create(strings.Replace(plain, `"42"`, `"huge"`, 1))
	c.until(id, "ERROR")
	if f := c.call("alice", "GET", "/servers/"+id, "").text("server.fault.message"); !strings.Contains(f, "Core removed 1 hosts") {
		t.Errorf("fault: %q", f)
	}
	c.want(409, c.call("alice", "POST", "/servers/"+id+"/action", `{"reboot": {"type": "HARD"}}`))
	c.want(204, c.call("alice", "DELETE", "/servers/"+id, ""))
	c.until(id, "GONE")
	c.empty()
}

const vol = "33333333-3333-3333-3333-333333333333"

func TestVolumes(t *testing.T) {
	c := newCloud(t)
	c.world.AddVolume(vol, 1, false)
	id := c.create(plain)
	c.until(id, "ACTIVE")
	at := "/servers/" + id + "/os-volume_attachments"
	a := c.want(200, c.call("alice", "POST", at, `{"volumeAttachment": {"volumeId": "`+vol+`"}}`))
	if a.text("volumeAttachment.device") != "/dev/vdb" {
		t.Errorf("attached: %s", a.body)
	}
	c.await("in-use", func() bool { return c.world.VolumeStatus(vol) == "in-use" })
	c.await("in the guest", func() bool { g, _ := c.driver.Defined(id); return len(g.Disks) == 2 && g.Disks[1].Serial == vol })
	c.want(400, c.call("alice", "POST", at, `{"volumeAttachment": {"volumeId": "`+vol+`"}}`))
	c.await("at rest", func() bool { return c.call("alice", "DELETE", at+"/"+vol, "").status == 202 })
	c.await("available", func() bool { return c.world.VolumeStatus(vol) == "available" })
	c.await("out of the list", func() bool { return len(c.call("alice", "GET", at, "").list("volumeAttachments")) == 0 })

	c.driver.Fail(func(call, _ string) error {
		if call == "attach disk" {
			return errs.New(errs.Internal, "libvirt: iSCSI: authorization failure")
		}
		return nil
	})
	c.want(200, c.call("alice", "POST", at, `{"volumeAttachment": {"volumeId": "`+vol+`"}}`))
	c.await("given back", func() bool { return c.world.VolumeStatus(vol) == "available" })
	c.await("told", func() bool {
		return strings.Contains(c.call("alice", "GET", "/servers/"+id+"/os-instance-actions", "").body, "Error") ||
			strings.Contains(c.call("alice", "GET", "/servers/"+id+"/os-instance-actions", "").body, "authorization failure")
	})
	c.driver.Fail(nil)
	c.want(204, c.call("alice", "DELETE", "/servers/"+id, ""))
	c.until(id, "GONE")
	c.empty()
}

func TestBootFromVolume(t *testing.T) {
	c := newCloud(t)
	c.world.AddVolume(vol, 2, true)
	id := c.create(`{"server": {"name": "v", "flavorRef": "42", "networks": "none", "block_device_mapping_v2": [{"source_type": "volume", "uuid": "` + vol + `", "boot_index": 0}]}}`)
	c.until(id, "ACTIVE")
	g, _ := c.driver.Defined(id)
	if len(g.Disks) != 1 || g.Disks[0].ISCSI == nil || g.Disks[0].Boot != 1 {
		t.Errorf("defined: %+v", g)
	}
	if image := c.call("alice", "GET", "/servers/"+id, "").at("server.image"); image != "" {
		t.Errorf("image: %v", image)
	}
	c.want(403, c.call("alice", "DELETE", "/servers/"+id+"/os-volume_attachments/"+vol, ""))
	c.want(204, c.call("alice", "DELETE", "/servers/"+id, ""))
	c.until(id, "GONE")
	c.empty()
}

func TestInterfaces(t *testing.T) {
	c := newCloud(t)
	c.world.AddPort("44444444-4444-4444-4444-444444444444", "n1")
	id := c.create(plain)
	c.until(id, "ACTIVE")
	at := "/servers/" + id + "/os-interface"
	c.want(200, c.call("alice", "POST", at, `{"interfaceAttachment": {"port_id": "44444444-4444-4444-4444-444444444444"}}`))
	c.await("in the guest", func() bool { g, _ := c.driver.Defined(id); return len(g.NICs) == 2 })
	made := c.want(200, c.call("alice", "POST", at, `{"interfaceAttachment": {"net_id": "n1"}}`)).text("interfaceAttachment.port_id")
	c.await("three", func() bool { g, _ := c.driver.Defined(id); return len(g.NICs) == 3 })
	c.await("detached", func() bool { return c.call("alice", "DELETE", at+"/"+made, "").status == 202 })
	c.await("two", func() bool { return len(c.call("alice", "GET", at, "").list("interfaceAttachments")) == 2 })
	c.want(204, c.call("alice", "DELETE", "/servers/"+id, ""))
	c.until(id, "GONE")
	if s := c.world.PortServer("44444444-4444-4444-4444-444444444444"); s != "" {
		t.Errorf("the lent port still belongs to %q", s)
	}
	c.empty()
}

// TestConfigDrive: it is a CD, so that the guest's disks have the names that the API gives them.
func TestConfigDrive(t *testing.T) {
	c := newCloud(t)
	id := c.create(strings.Replace(plain, `"name"`, `"config_drive": true, "name"`, 1))
	c.until(id, "ACTIVE")
	g, _ := c.driver.Defined(id)
	drive := g.Disks[len(g.Disks)-1]
	if len(g.Disks) != 2 || !drive.CDROM || drive.Bus != "ide" || !strings.HasSuffix(drive.Path, "disk.config") {
		t.Errorf("disks: %+v", g.Disks)
	}
	c.want(204, c.call("alice", "DELETE", "/servers/"+id, ""))
	c.until(id, "GONE")
	c.empty()
}

func TestCreateImage(t *testing.T) {
	c := newCloud(t)
	id := c.create(plain)
	c.until(id, "ACTIVE")
	image := c.want(202, c.call("alice 2.45", "POST", "/servers/"+id+"/action", `{"createImage": {"name": "shot"}}`)).text("image_id")
	c.until(id, "ACTIVE")
	c.await("filled", func() bool { return strings.HasPrefix(c.world.ImageBytes(image), "disk vda of "+id) })
	c.want(204, c.call("alice", "DELETE", "/servers/"+id, ""))
	c.until(id, "GONE")
}

// TestParallelBoots: a hundred for room for sixty-four.
func TestParallelBoots(t *testing.T) {
	c := newCloud(t)
	c.want(200, c.call("admin", "PUT", "/os-quota-sets/"+p1, `{"quota_set": {"instances": -1, "cores": -1, "ram": -1}}`))
	ids := make([]string, 100)
	var all sync.WaitGroup
	for i := range ids {
		all.Go(func() {
			a := c.call("alice 2.90", "POST", "/servers", plain)
			if ids[i] = a.text("server.id"); ids[i] == "" {
				t.Errorf("create: %d %s", a.status, a.body)
			}
		})
	}
	all.Wait()
	active, failed := 0, 0
	for _, id := range ids {
		c.await("an end", func() bool { s := c.status(id); return s == "ACTIVE" || s == "ERROR" })
		if c.status(id) == "ACTIVE" {
			active++
		} else if strings.Contains(c.call("alice", "GET", "/servers/"+id, "").text("server.fault.message"), "Core removed 1 hosts") {
			failed++
		}
	}
	if active != 64 || failed != 36 {
		t.Errorf("%d active, %d with a clear fault", active, failed)
	}
	if n := len(c.call("alice", "GET", "/servers?limit=10", "").list("servers")); n != 10 {
		t.Errorf("a page of %d", n)
	}
}

// TestRowsAreSmall: user data does not weigh on lists.
func TestRowsAreSmall(t *testing.T) {
	c := newCloud(t)
	id := c.create(`{"server": {"name": "x", "flavorRef": "42", "imageRef": "img", "networks": "none", "user_data": "` + strings.Repeat("QUJD", 10000) + `"}}`)
	c.until(id, "ACTIVE")
	err := c.store.View(t.Context(), func(r state.Reader) error {
		raw, _ := r.Get(model.Servers.Prefix() + id)
		if len(raw) > 4000 {
			t.Errorf("the row has %d bytes", len(raw))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if a := c.call("admin 2.3", "GET", "/servers/"+id, ""); len(a.text("server.OS-EXT-SRV-ATTR:user_data")) != 40000 {
		t.Error("user data is not shown to admins")
	}
	if a := c.call("bob", "GET", "/servers/"+id, ""); a.status != http.StatusNotFound {
		t.Errorf("another project: %d", a.status)
	}
}

// BenchmarkCreateToActive is our own share of a boot: from the request to ACTIVE, over a hypervisor and neighbours that take no time. Then the server is deleted.
func BenchmarkCreateToActive(b *testing.B) {
	c := newCloud(b)
	if a := c.call("admin", "PUT", "/os-quota-sets/p-alice", `{"quota_set":{"instances":-1,"cores":-1,"ram":-1}}`); a.status != http.StatusOK {
		b.Fatal(a.body)
	}
	for b.Loop() {
		id := c.create(plain)
		c.until(id, "ACTIVE")
		b.StopTimer()
		c.want(http.StatusNoContent, c.call("alice", "DELETE", "/servers/"+id, ""))
		c.until(id, "GONE")
		b.StartTimer()
	}
}
