package iscsi

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"henge/internal/errs"
)

var (
	testCHAP   = CHAP{User: "attachment", Secret: "0123456789abcdef"}
	testMutual = CHAP{User: "henge", Secret: "fedcba9876543210"}
)

func guarded(store Store) Target {
	return Target{IQN: testIQN, Store: store, Serial: "vol", CHAP: testCHAP, Mutual: testMutual, Initiators: []string{testInitiator}}
}

func TestCHAP(t *testing.T) {
	r := newRig(t, Config{})
	r.export(t, guarded(memory()))
	for _, one := range []struct {
		name, user, secret string
		status             uint16
	}{
		{"right", "attachment", "0123456789abcdef", 0},
		{"wrong secret", "attachment", "0123456789abcdeF", statusAuthFailed},
		{"wrong user", "Attachment", "0123456789abcdef", statusAuthFailed},
		{"no user", "", "0123456789abcdef", statusAuthFailed},
		{"the other direction's", "henge", "fedcba9876543210", statusAuthFailed},
	} {
		if status, _ := r.dial(t).loginCHAP(one.user, one.secret); status != one.status {
			t.Errorf("%s: status %04x, want %04x", one.name, status, one.status)
		}
	}
}

// TestCHAP_NeverFailsOpen are ways around the question.
func TestCHAP_NeverFailsOpen(t *testing.T) {
	r := newRig(t, Config{})
	r.export(t, guarded(memory()))
	toFull := byte(finalBit | stageFull)
	for name, try := range map[string]func(c *client) uint16{
		"operational stage at once": func(c *client) uint16 { return c.loginNone() },
		"AuthMethod=None": func(c *client) uint16 {
			s, _, _ := c.loginPDU(toFull, append(c.names(), "AuthMethod=None")...)
			return s
		},
		"no AuthMethod":         func(c *client) uint16 { s, _, _ := c.loginPDU(toFull, c.names()...); return s },
		"an unknown AuthMethod": func(c *client) uint16 { s, _, _ := c.loginPDU(0, append(c.names(), "AuthMethod=KRB5")...); return s },
		"CHAP_R first": func(c *client) uint16 {
			s, _, _ := c.loginPDU(toFull, append(c.names(), "CHAP_N=attachment", "CHAP_R=0x00")...)
			return s
		},
		"CHAP_A before AuthMethod":   func(c *client) uint16 { s, _, _ := c.loginPDU(0, append(c.names(), "CHAP_A=5")...); return s },
		"a hash that nobody knows":   func(c *client) uint16 { return c.two(0, "CHAP_A=99") },
		"leave before the challenge": func(c *client) uint16 { return c.two(toFull, "HeaderDigest=None") },
		"an empty answer": func(c *client) uint16 {
			c.two(0, "CHAP_A=5")
			s, _, _ := c.loginPDU(toFull, "CHAP_N=attachment", "CHAP_R=0x")
			return s
		},
	} {
		c := r.dial(t)
		if status := try(c); status != statusAuthFailed {
			t.Errorf("%s: status %04x", name, status)
		}
		c.closed()
	}
	if open := r.Sessions(); len(open) > 0 {
		t.Errorf("sessions: %+v", open)
	}
}

// two sends AuthMethod=CHAP, and then what is given.
func (c *client) two(flags byte, keys ...string) uint16 {
	c.t.Helper()
	if status, _, values := c.loginPDU(0, append(c.names(), "AuthMethod=CHAP,None")...); status != 0 || values["AuthMethod"] != "CHAP" {
		c.t.Fatalf("AuthMethod: status %04x %v", status, values)
	}
	status, _, _ := c.loginPDU(flags, keys...)
	return status
}

// TestCHAP_OneAnswerAChallenge shows that a challenge cannot be guessed at twice, and that two logins get different ones.
func TestCHAP_OneAnswerAChallenge(t *testing.T) {
	r := newRig(t, Config{})
	r.export(t, guarded(memory()))
	seen := map[string]bool{}
	for range 3 {
		c := r.dial(t)
		_, _, _ = c.loginPDU(0, append(c.names(), "AuthMethod=CHAP")...)
		_, _, values := c.loginPDU(0, "CHAP_A=5")
		if seen[values["CHAP_C"]] || len(values["CHAP_C"]) < 34 {
			t.Errorf("challenge %q", values["CHAP_C"])
		}
		seen[values["CHAP_C"]] = true
		if status, _, _ := c.loginPDU(0, "CHAP_N=attachment", "CHAP_R=0x00112233445566778899aabbccddeeff"); status != statusAuthFailed {
			t.Errorf("status %04x", status)
		}
		c.closed()
	}
}

func TestCHAP_Mutual(t *testing.T) {
	r := newRig(t, Config{})
	r.export(t, guarded(memory()))
	asked := challenge{hash: chapHashes["5"], id: 200, text: bytes.Repeat([]byte{7}, 16)}
	status, values := r.dial(t).loginCHAP(testCHAP.User, testCHAP.Secret, "CHAP_I=200", "CHAP_C="+formatBinary(asked.text))
	if status != 0 || values["CHAP_N"] != testMutual.User || values["CHAP_R"] != formatBinary(asked.answer(testMutual.Secret)) {
		t.Errorf("status %04x, %v", status, values)
	}
	for name, keys := range map[string][]string{
		"no challenge":  {"CHAP_I=200"},
		"no identifier": {"CHAP_C=0x0102"},
		"no bytes":      {"CHAP_I=1", "CHAP_C=0x"},
		"not a number":  {"CHAP_I=999", "CHAP_C=0x0102"},
	} {
		if status, _ := r.dial(t).loginCHAP(testCHAP.User, testCHAP.Secret, keys...); status != statusAuthFailed {
			t.Errorf("%s: status %04x", name, status)
		}
	}
	one := guarded(memory())
	one.IQN, one.Mutual, one.Epoch = testIQN, CHAP{}, 1
	r.export(t, one)
	if status, _ := r.dial(t).loginCHAP(testCHAP.User, testCHAP.Secret, "CHAP_I=1", "CHAP_C=0x0102"); status != statusAuthFailed {
		t.Errorf("mutual CHAP that is not set: status %04x", status)
	}
}

// TestCHAP_Reflection sends our own challenge back to have it answered.
func TestCHAP_Reflection(t *testing.T) {
	ours := challenge{hash: chapHashes["5"], id: 1, text: []byte("0123456789")}
	if _, err := mutualChallenge(ours, "1", formatBinary(ours.text)); !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("%v", err)
	}
}

func TestAccessList(t *testing.T) {
	r := newRig(t, Config{})
	r.export(t, guarded(memory()))
	c := r.dial(t)
	c.initiator = otherName
	if status, _ := c.loginCHAP(testCHAP.User, testCHAP.Secret); status != statusNotAllowed {
		t.Errorf("an initiator not listed: status %04x", status)
	}
	for _, names := range [][]string{{}, {"TargetName=" + testIQN}, {"InitiatorName=" + testInitiator}} {
		if status, _, _ := r.dial(t).loginPDU(finalBit|stageOperational<<2|stageFull, names...); status != statusMissing {
			t.Errorf("%v: status %04x", names, status)
		}
	}
	for keys, want := range map[string]uint16{
		"InitiatorName= TargetName=" + testIQN:                                 statusMissing,
		"InitiatorName=bob TargetName=" + testIQN:                              statusInitiatorError,
		"InitiatorName=" + testInitiator + " TargetName=iqn.2000-01.x:nothing": statusNotFound,
		"InitiatorName=" + testInitiator + " SessionType=Other":                statusSessionType,
		"InitiatorName=" + testInitiator + " InitiatorName=" + otherName:       statusInitiatorError,
		"InitiatorName=" + testInitiator + " novalue":                          statusInitiatorError,
	} {
		if status, _, _ := r.dial(t).loginPDU(finalBit|stageOperational<<2|stageFull, strings.Fields(keys)...); status != want {
			t.Errorf("%s: status %04x, want %04x", keys, status, want)
		}
	}
	// Taken off the list, a session ends; the secret does not help.
	in := r.dial(t)
	if status, _ := in.loginCHAP(testCHAP.User, testCHAP.Secret); status != 0 {
		t.Fatalf("status %04x", status)
	}
	changed := guarded(memory())
	changed.Initiators = []string{otherName}
	r.export(t, changed)
	in.closed()
	if status, _ := r.dial(t).loginCHAP(testCHAP.User, testCHAP.Secret); status != statusNotAllowed {
		t.Errorf("status %04x", status)
	}
}

func TestLogin_BadNegotiation(t *testing.T) {
	r := newRig(t, Config{})
	r.open(t, memory())
	for _, key := range []string{"MaxBurstLength=1", "FirstBurstLength=abc", "InitialR2T=Maybe", "HeaderDigest=MD5", "MaxConnections=0",
		"ErrorRecoveryLevel=9", "DefaultTime2Wait=-1", "MaxRecvDataSegmentLength=99999999"} {
		if status := r.dial(t).loginNone(key); status != statusInitiatorError {
			t.Errorf("%s: status %04x", key, status)
		}
	}
	c := r.dial(t)
	status, _, values := c.loginPDU(finalBit|stageOperational<<2|stageFull, append(c.names(), "X-new=1", "MaxConnections=8", "ErrorRecoveryLevel=2",
		"InitialR2T=No", "MaxBurstLength=16776192", "FirstBurstLength=0x40000", "DataDigest=CRC32C,None", "OFMarker=Yes")...)
	for key, want := range map[string]string{"X-new": "NotUnderstood", "MaxConnections": "1", "ErrorRecoveryLevel": "0", "InitialR2T": "Yes",
		"MaxBurstLength": "1048576", "FirstBurstLength": "262144", "DataDigest": "CRC32C", "OFMarker": "No", "MaxRecvDataSegmentLength": "262144",
		"TargetPortalGroupTag": "1"} {
		if values[key] != want {
			t.Errorf("%s=%s, want %s", key, values[key], want)
		}
	}
	if status != 0 {
		t.Errorf("status %04x", status)
	}
}

// TestLogin_Continued sends the keys over several PDUs, and more of them than there may be.
func TestLogin_Continued(t *testing.T) {
	r := newRig(t, Config{})
	r.open(t, memory())
	c := r.dial(t)
	for _, name := range c.names()[:2] {
		if status, flags, _ := c.loginPDU(continueBit|stageOperational<<2, name); status != 0 || flags&finalBit != 0 {
			t.Fatalf("status %04x flags %#x", status, flags)
		}
	}
	if status, _, _ := c.loginPDU(finalBit|stageOperational<<2|stageFull, "SessionType=Normal"); status != 0 {
		t.Fatalf("status %04x", status)
	}
	c.ready()
	c = r.dial(t)
	for range 100 {
		status, _, _ := c.loginPDU(continueBit|stageOperational<<2, "X-fill="+strings.Repeat("x", 8000))
		if status == statusInitiatorError {
			c.closed()
			return
		}
	}
	t.Error("text without end was taken")
}

// TestDiscovery shows that it names only what the initiator has proven to have access to.
func TestDiscovery(t *testing.T) {
	r := newRig(t, Config{Portals: []string{"192.0.2.1:3260", "192.0.2.2:3260"}})
	for i, suffix := range []string{"a", "b", "c", "d"} {
		target := guarded(memory())
		target.IQN = "iqn.2026-11.cloud.henge:" + suffix
		switch i {
		case 1:
			target.Initiators = []string{otherName}
		case 2:
			target.CHAP = CHAP{User: "else", Secret: "another secret"}
		case 3:
			target.CHAP, target.Open = CHAP{}, true
		}
		r.export(t, target)
	}
	ask := func(c *client) string {
		var h header
		h[0], h[1] = opText, finalBit
		h.setWord(16, 5)
		h.setWord(20, noTag)
		h.setWord(24, c.number)
		c.number++
		c.send(&h, text("SendTargets=All"))
		_, data := c.expect(opTextDone)
		return strings.TrimSuffix(strings.ReplaceAll(string(data), "\x00", " "), " ")
	}
	names := []string{"InitiatorName=" + testInitiator, "SessionType=Discovery"}
	c := r.dial(t)
	_, _, _ = c.loginPDU(0, append(names, "AuthMethod=CHAP,None")...)
	_, _, values := c.loginPDU(0, "CHAP_A=5")
	asked, err := parseBinary(values["CHAP_C"])
	if err != nil {
		t.Fatal(err)
	}
	id, _ := parseNumber(values["CHAP_I"], 0, 255)
	answer := challenge{hash: chapHashes["5"], id: byte(id), text: asked}.answer(testCHAP.Secret)
	if status, _, _ := c.loginPDU(finalBit|stageFull, "CHAP_N="+testCHAP.User, "CHAP_R="+formatBinary(answer)); status != 0 {
		t.Fatalf("status %04x", status)
	}
	const portals = " TargetAddress=192.0.2.1:3260,1 TargetAddress=192.0.2.2:3260,1"
	if got := ask(c); got != "TargetName=iqn.2026-11.cloud.henge:a"+portals {
		t.Errorf("with the secret: %q", got)
	}
	c.start(0, cdb(0), 0, nil)
	if got, _ := c.expect(opReject); got[2] != rejectNotSupported {
		t.Errorf("a command in a discovery session: reason %#x", got[2])
	}
	c = r.dial(t)
	if status, _, _ := c.loginPDU(finalBit|stageOperational<<2|stageFull, names...); status != 0 {
		t.Fatalf("status %04x", status)
	}
	if got := ask(c); got != "TargetName=iqn.2026-11.cloud.henge:d"+portals {
		t.Errorf("without a secret: %q", got)
	}
	c = r.dial(t)
	if status, _, _ := c.loginPDU(finalBit|stageOperational<<2|stageFull, "InitiatorName=iqn.2000-01.x:stranger", "SessionType=Discovery"); status != statusAuthFailed {
		t.Errorf("a stranger: status %04x", status)
	}
}

func TestExport_Refuses(t *testing.T) {
	s := NewServer(Config{})
	defer s.Close()
	for name, change := range map[string]func(*Target){
		"no name":           func(g *Target) { g.IQN = "" },
		"no store":          func(g *Target) { g.Store = nil },
		"no serial":         func(g *Target) { g.Serial = "" },
		"no secret":         func(g *Target) { g.CHAP = CHAP{} },
		"short secret":      func(g *Target) { g.CHAP.Secret = "short" },
		"no user":           func(g *Target) { g.CHAP.User = "" },
		"same secret twice": func(g *Target) { g.Mutual.Secret = g.CHAP.Secret },
		"open with secret":  func(g *Target) { g.Open = true },
		"odd blocks":        func(g *Target) { g.BlockBytes = 1000 },
		"bad initiator":     func(g *Target) { g.Initiators = []string{"bob"} },
	} {
		target := guarded(memory())
		change(&target)
		if err := s.Export(context.Background(), target); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
