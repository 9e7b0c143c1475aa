package api

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"henge/cluster/state"
	"henge/computed/console"
	"henge/computed/lifecycle"
	"henge/computed/model"
	"henge/internal/errs"
	"henge/internal/openstack"
)

// consoleBytesMax bounds what one request reads of a console.
const consoleBytesMax = 100 << 10

func consoleOutput(c *call, f *openstack.Fields) error {
	lines := -1
	if f.Null("length") {
		f.Drop("length")
	}
	takeInt(f, "length", &lines, -1, intMax)
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	s, err := c.server()
	if err != nil {
		return err
	}
	if s.VM == lifecycle.Building || s.Host == "" {
		return errs.New(errs.Conflict, "Instance %s is not ready", s.ID)
	}
	raw, err := c.Peer.ConsoleLog(c.r.Context(), s.Host, s.ID, consoleBytesMax)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"output": lastLines(printable(raw), lines)})
}

// printable leaves out what JSON and terminals cannot take.
func printable(raw []byte) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || r == 0 {
			return -1
		}
		return r
	}, string(raw))
}

func lastLines(text string, n int) string {
	if n < 0 {
		return text
	}
	if n == 0 {
		return ""
	}
	end := strings.TrimSuffix(text, "\n")
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] == '\n' {
			if n--; n == 0 {
				return text[i+1:]
			}
		}
	}
	return text
}

// oldConsole is os-getVNCConsole, until 2.5.
func oldConsole(c *call, f *openstack.Fields) error {
	if c.at(6) {
		return errs.New(errs.Invalid, "There is no such action: os-getVNCConsole")
	}
	kind := ""
	f.Require("type")
	f.Text("type", &kind, openstack.Text{OneOf: []string{"novnc", "xvpvnc"}})
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	if kind == "xvpvnc" {
		return errs.New(errs.Invalid, "Unavailable console type xvpvnc.")
	}
	address, err := c.openConsole()
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"console": document{"type": kind, "url": address}})
}

func createConsole(c *call) error {
	if err := c.cameWith(6); err != nil {
		return err
	}
	if err := c.member(); err != nil {
		return err
	}
	f, err := c.body("remote_console")
	if err != nil {
		return err
	}
	protocol, kind := "", ""
	f.Require("protocol", "type")
	f.Text("protocol", &protocol, openstack.Text{OneOf: []string{"vnc", "spice", "rdp", "serial", "mks"}})
	f.Text("type", &kind, openstack.Text{OneOf: []string{"novnc", "xvpvnc", "rdp-html5", "spice-html5", "serial", "webmks"}})
	f.None()
	if err := f.Err(); err != nil {
		return err
	}
	if protocol != "vnc" || kind != "novnc" {
		return errs.New(errs.Invalid, "Unavailable console type %s: it is vnc with novnc", kind)
	}
	address, err := c.openConsole()
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, document{"remote_console": document{"protocol": protocol, "type": kind, "url": address}})
}

// openConsole makes a token for the server of the path, and the address that takes it.
func (c *call) openConsole() (string, error) {
	secret := console.NewToken()
	base := ""
	err := c.update(func(w state.Writer) error {
		s, err := c.findServer(w, c.path("id"))
		if err != nil {
			return err
		}
		if !slices.Contains([]lifecycle.VM{lifecycle.Active, lifecycle.Paused}, s.VM) {
			return errs.New(errs.Conflict, "Instance %s is not ready: it does not run", s.ID)
		}
		h, err := model.Hosts.Get(w, s.Host)
		if err != nil {
			return err
		}
		base = h.ConsoleURL
		return console.Admit(w, secret, s, c.Clock.Now())
	})
	return base + "/vnc_lite.html?path=" + url.QueryEscape("?token="+secret), err
}
