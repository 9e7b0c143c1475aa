package iscsi

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"henge/internal/errs"
)

// Stages of a login (RFC 7143, 11.12.3).
const (
	stageSecurity    = 0
	stageOperational = 1
	stageFull        = 3
)

// loginPDUsMax bounds the exchanges of one login: a real one takes two to eight.
const loginPDUsMax = 32

// loginError is a login that failed, with the status that the initiator is told.
type loginError struct {
	status uint16 // class and detail
	err    error
}

func (e *loginError) Error() string { return fmt.Sprintf("%v (status %04x)", e.err, e.status) }
func (e *loginError) Unwrap() error { return e.err }

// Status codes of a login response (RFC 7143, 11.13.5).
const (
	statusInitiatorError = 0x0200
	statusAuthFailed     = 0x0201
	statusNotAllowed     = 0x0202
	statusNotFound       = 0x0203
	statusVersion        = 0x0205
	statusConnections    = 0x0206
	statusMissing        = 0x0207
	statusSessionType    = 0x0209
	statusNoSession      = 0x020a
	statusInvalid        = 0x020b
	statusTargetError    = 0x0300
	statusUnavailable    = 0x0301
	statusResources      = 0x0302
)

func refuse(status uint16, format string, args ...any) error {
	return &loginError{status, errs.New(errs.Denied, format, args...)}
}

// login is a connection until full feature phase.
type login struct {
	server *Server
	conn   net.Conn
	in     pduReader
	first  header // the first request: its ISID, TSIH and CID hold for all
	last   header

	text    []byte // gathered over continued requests
	statSN  uint32
	started bool
	stage   byte

	initiator  string
	targetName string
	discovery  bool
	export     *export // nil for discovery
	auth       auth
	params     params
	declared   bool // our own declarations are made
	tsih       uint16
}

func newLogin(s *Server, conn net.Conn) *login {
	return &login{server: s, conn: conn, statSN: 1, params: defaults(),
		in: pduReader{in: bufio.NewReaderSize(conn, headerBytes+loginDataBytesMax+1024), dataMax: loginDataBytesMax}}
}

// run leads the initiator to full feature phase. Every refusal is told the initiator as a status before the connection is closed.
func (l *login) run() (*session, error) {
	if err := l.conn.SetDeadline(time.Now().Add(l.server.cfg.LoginTimeout)); err != nil {
		return nil, err
	}
	for range loginPDUsMax {
		whole, err := l.read()
		if err != nil {
			return nil, l.fail(err)
		}
		if !whole {
			if err := l.respond(l.stage, 0, 0, nil); err != nil {
				return nil, err
			}
			continue
		}
		done, err := l.exchange()
		if err != nil {
			return nil, l.fail(err)
		}
		if done != nil {
			return done, nil
		}
	}
	return nil, l.fail(refuse(statusInitiatorError, "no end after %d requests", loginPDUsMax))
}

// read takes one request, and says whether its text is whole.
func (l *login) read() (whole bool, err error) {
	h := &l.last
	if err := l.in.header(h); err != nil {
		return false, err
	}
	if h.opcode() != opLogin {
		return false, refuse(statusInvalid, "opcode %#02x before the login", h.opcode())
	}
	if len(l.text)+h.dataBytes() > textBytesMax {
		return false, refuse(statusInitiatorError, "more than %d bytes of text", textBytesMax)
	}
	data := make([]byte, h.dataBytes())
	if err := l.in.data(data); err != nil {
		return false, err
	}
	l.text = append(l.text, data...)
	if err := l.checkHeader(h); err != nil {
		return false, err
	}
	return h[1]&continueBit == 0, nil
}

func (l *login) checkHeader(h *header) error {
	stage := h[1] >> 2 & 3
	if !l.started {
		l.first, l.started, l.stage = *h, true, stage
		if h[3] > 0 {
			return refuse(statusVersion, "version %d at least", h[3])
		}
		if stage > stageOperational {
			return refuse(statusInitiatorError, "stage %d first", stage)
		}
	}
	switch {
	case h.itt() != l.first.itt() || [8]byte(h[8:16]) != [8]byte(l.first[8:16]):
		return refuse(statusInitiatorError, "another task tag, ISID or TSIH than in the first request")
	case stage != l.stage:
		return refuse(statusInitiatorError, "stage %d during stage %d", stage, l.stage)
	case h[1]&finalBit != 0 && h[1]&continueBit != 0:
		return refuse(statusInitiatorError, "a transition in a continued request")
	}
	return nil
}

// exchange answers one whole request. It answers the session when the login is done.
func (l *login) exchange() (*session, error) {
	pairs, err := parseText(l.text)
	l.text = nil
	if err != nil {
		return nil, refuse(statusInitiatorError, "%w", err)
	}
	named := l.initiator != ""
	if !named {
		if err := l.identify(pairs); err != nil {
			return nil, err
		}
	}
	reply := []byte{}
	if !named && !l.discovery {
		reply = appendText(reply, "TargetPortalGroupTag", "1")
	}
	if l.stage == stageSecurity {
		reply, err = l.security(pairs, reply)
	} else {
		reply, err = l.operational(pairs, reply)
	}
	if err != nil {
		return nil, err
	}
	return l.transit(reply)
}

// transit moves on to the stage that the initiator asks for, if this one is done.
func (l *login) transit(reply []byte) (*session, error) {
	wants, next := l.last[1]&finalBit != 0, l.last[1]&3
	if !wants || (l.stage == stageSecurity && !l.auth.passed) {
		return nil, l.respond(l.stage, 0, 0, reply)
	}
	if next <= l.stage || next == 2 {
		return nil, refuse(statusInitiatorError, "from stage %d to %d", l.stage, next)
	}
	if next == stageOperational {
		current := l.stage
		l.stage = next
		return nil, l.respond(current, next, finalBit, reply)
	}
	return l.complete(reply)
}

// complete makes the session known, tells the initiator, and hands over. Nobody gets here unauthenticated: it is checked once more.
func (l *login) complete(reply []byte) (*session, error) {
	if !l.auth.passed {
		return nil, refuse(statusAuthFailed, "no authentication")
	}
	l.params.finish()
	s := newSession(l)
	if err := l.server.register(s, l); err != nil {
		return nil, err
	}
	l.tsih = s.tsih
	if err := l.respond(l.stage, stageFull, finalBit, reply); err != nil {
		l.server.abandon(s)
		return nil, err
	}
	if err := l.conn.SetDeadline(time.Time{}); err != nil {
		l.server.abandon(s)
		return nil, err
	}
	s.begin(l)
	return s, nil
}

// identify reads who comes and where to, from the first request.
func (l *login) identify(pairs []pair) error {
	kind := "Normal"
	for _, p := range pairs {
		switch p.key {
		case "InitiatorName":
			l.initiator = strings.ToLower(p.value)
		case "TargetName":
			l.targetName = strings.ToLower(p.value)
		case "SessionType":
			kind = p.value
		}
	}
	switch {
	case l.initiator == "":
		return refuse(statusMissing, "no InitiatorName")
	case !validName(l.initiator):
		return refuse(statusInitiatorError, "InitiatorName=%.40q is no iSCSI name", l.initiator)
	case kind != "Normal" && kind != "Discovery":
		return refuse(statusSessionType, "SessionType=%.40s", kind)
	case l.last[14]|l.last[15] != 0:
		return l.refuseTSIH(uint16(l.last[14])<<8 | uint16(l.last[15]))
	}
	l.discovery = kind == "Discovery"
	if l.discovery {
		return nil
	}
	return l.findTarget()
}

// refuseTSIH answers a login that wants to add a connection to a session: of ours each has one.
func (l *login) refuseTSIH(tsih uint16) error {
	l.server.mu.Lock()
	defer l.server.mu.Unlock()
	if s := l.server.sessions[tsih]; s != nil && s.initiator == l.initiator {
		return refuse(statusConnections, "a second connection for session %d", tsih)
	}
	return refuse(statusNoSession, "no session %d", tsih)
}

func (l *login) findTarget() error {
	if l.targetName == "" {
		return refuse(statusMissing, "no TargetName")
	}
	l.server.mu.Lock()
	l.export = l.server.exports[l.targetName]
	l.server.mu.Unlock()
	if l.export == nil {
		return refuse(statusNotFound, "no target %.80q", l.targetName)
	}
	if !l.export.allows(l.initiator) {
		return refuse(statusNotAllowed, "%.80q is not on the access list of %s", l.initiator, l.targetName)
	}
	return nil
}

// operational negotiates. Who begins here has skipped authentication, which only targets that are open allow.
func (l *login) operational(pairs []pair, reply []byte) ([]byte, error) {
	if !l.auth.passed {
		if err := l.passOpen(); err != nil {
			return nil, err
		}
	}
	for _, p := range pairs {
		if loginKeys[p.key] {
			continue
		}
		value, err := l.params.answer(p.key, p.value)
		if err != nil {
			return nil, refuse(statusInitiatorError, "%w", err)
		}
		if value != "" {
			reply = appendText(reply, p.key, value)
		}
	}
	if !l.declared {
		l.declared = true
		reply = appendText(reply, "MaxRecvDataSegmentLength", fmt.Sprint(dataBytesMax))
	}
	return reply, nil
}

// loginKeys are read elsewhere, and get no answer.
var loginKeys = map[string]bool{"InitiatorName": true, "TargetName": true, "SessionType": true, "AuthMethod": true}

// respond sends a login response.
func (l *login) respond(stage, next, flags byte, text []byte) error {
	// A reply is far below a data segment of the default length: the keys are few, the values short.
	return l.write(stage<<2|next|flags, 0, text)
}

func (l *login) write(flags byte, status uint16, text []byte) error {
	var h header
	h[0], h[1] = opLoginDone, flags
	h.setDataBytes(len(text))
	copy(h[8:14], l.first[8:14])
	h[14], h[15] = byte(l.tsih>>8), byte(l.tsih)
	copy(h[16:20], l.first[16:20])
	h.setWord(24, l.statSN)
	l.statSN++
	h.setWord(28, l.last.word(24))
	h.setWord(32, l.last.word(24)+uint32(l.server.cfg.CommandsMax)-1)
	h[36], h[37] = byte(status>>8), byte(status)
	out := append(h[:], text...)
	out = append(out, make([]byte, -len(text)&3)...)
	_, err := l.conn.Write(out)
	return err
}

// fail tells the initiator why, if it is there to be told.
func (l *login) fail(err error) error {
	refusal, ok := asLoginError(err)
	if !ok || !l.started && l.last.opcode() != opLogin {
		return err
	}
	if writeErr := l.write(l.stage<<2, refusal.status, nil); writeErr == nil {
		l.linger()
	}
	return err
}

// linger lets the initiator read the status: closing with its bytes unread would reset the connection and take the answer with it.
func (l *login) linger() {
	if half, ok := l.conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_ = l.conn.SetReadDeadline(time.Now().Add(time.Second))
		_, _ = io.CopyN(io.Discard, l.conn, textBytesMax)
	}
}

func asLoginError(err error) (*loginError, bool) {
	switch e := err.(type) {
	case *loginError:
		return e, true
	}
	if err == errDataTooLong {
		return &loginError{statusInitiatorError, err}, true
	}
	return nil, false
}

// register makes the session known under a TSIH. An older session of the same initiator port at the same target ends first (RFC 7143, 6.3.5).
func (s *Server) register(one *session, l *login) error {
	if err := s.endOlder(one); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed || s.draining:
		return refuse(statusUnavailable, "the target is closing")
	case len(s.sessions) >= s.cfg.SessionsMax:
		return refuse(statusResources, "%d sessions are open", len(s.sessions))
	case one.export != nil && s.exports[one.export.iqn] != one.export:
		return refuse(statusNotFound, "target %s was removed", one.export.iqn)
	case one.export != nil && !one.export.allows(one.initiator):
		return refuse(statusNotAllowed, "%s is no longer on the access list", one.initiator)
	}
	for s.tsih++; s.tsih == 0 || s.sessions[s.tsih] != nil; s.tsih++ {
	}
	one.tsih = s.tsih
	s.sessions[one.tsih] = one
	return nil
}

// endOlder waits until the session that this one replaces is gone, commands included.
func (s *Server) endOlder(one *session) error {
	var older []*session
	s.mu.Lock()
	for _, other := range s.sessions {
		if one.export != nil && other.export == one.export && other.initiator == one.initiator && other.isid == one.isid {
			older = append(older, other)
		}
	}
	s.mu.Unlock()
	for _, other := range older {
		other.end(errReplaced)
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.LoginTimeout)
	defer cancel()
	if err := waitSessions(ctx, older, "replace session"); err != nil {
		return refuse(statusResources, "%w", err)
	}
	return nil
}

// abandon forgets a session whose login did not get through.
func (s *Server) abandon(one *session) {
	s.mu.Lock()
	delete(s.sessions, one.tsih)
	s.mu.Unlock()
	close(one.done)
}
