package iscsi

import (
	"slices"
	"strings"
)

// auth is how far an initiator's authentication is. passed is set in exactly two places: passOpen and verify.
type auth struct {
	asked     bool // AuthMethod=CHAP was chosen
	passed    bool
	ours      challenge
	reachable []*export // of a discovery session: what the initiator has proven to have access to
}

// security is the security negotiation stage.
func (l *login) security(pairs []pair, reply []byte) ([]byte, error) {
	values := map[string]string{}
	for _, p := range pairs {
		values[p.key] = p.value
	}
	switch {
	case l.auth.passed:
		return reply, nil
	case values["CHAP_N"] != "" || values["CHAP_R"] != "":
		return l.verify(values, reply)
	case values["CHAP_A"] != "":
		return l.ask(values["CHAP_A"], reply)
	}
	method, offered := values["AuthMethod"]
	if !offered {
		// A first request may be without it; who leaves the stage without it has not passed.
		return l.undecided(reply)
	}
	return l.method(strings.Split(method, ","), reply)
}

// undecided answers a request without AuthMethod. Leaving the stage by it means None.
func (l *login) undecided(reply []byte) ([]byte, error) {
	if l.last[1]&finalBit != 0 {
		return reply, l.passOpen()
	}
	return reply, nil
}

// method chooses CHAP wherever a secret is set, whatever else the initiator offers.
func (l *login) method(offered []string, reply []byte) ([]byte, error) {
	if l.wantsCHAP() && slices.Contains(offered, "CHAP") {
		l.auth.asked = true
		return appendText(reply, "AuthMethod", "CHAP"), nil
	}
	if !slices.Contains(offered, "None") {
		return nil, refuse(statusAuthFailed, "AuthMethod=%.40s: want CHAP", strings.Join(offered, ","))
	}
	if err := l.passOpen(); err != nil {
		return nil, err
	}
	return appendText(reply, "AuthMethod", "None"), nil
}

// candidates are the exports that the login may be for: the one named or, for discovery, those that have the initiator on their lists.
func (l *login) candidates() []*export {
	if !l.discovery {
		return []*export{l.export}
	}
	l.server.mu.Lock()
	defer l.server.mu.Unlock()
	var all []*export
	for _, e := range l.server.exports {
		if e.allows(l.initiator) {
			all = append(all, e)
		}
	}
	return all
}

func (l *login) wantsCHAP() bool {
	return slices.ContainsFunc(l.candidates(), func(e *export) bool { return !e.access.Load().Open })
}

// passOpen lets in who proves nothing, to open targets only.
func (l *login) passOpen() error {
	for _, e := range l.candidates() {
		if e.access.Load().Open {
			l.auth.reachable = append(l.auth.reachable, e)
		}
	}
	if len(l.auth.reachable) == 0 {
		return refuse(statusAuthFailed, "CHAP is wanted, and was not offered")
	}
	l.auth.passed = true
	return nil
}

// ask draws the challenge.
func (l *login) ask(algorithms string, reply []byte) ([]byte, error) {
	if !l.auth.asked {
		return nil, refuse(statusAuthFailed, "CHAP_A before AuthMethod=CHAP")
	}
	ours, algorithm, err := newChallenge(l.server.cfg.Rand, algorithms)
	if err != nil {
		return nil, refuse(statusAuthFailed, "%w", err)
	}
	l.auth.ours = ours
	reply = appendText(reply, "CHAP_A", algorithm)
	reply = appendText(reply, "CHAP_I", formatByte(ours.id))
	return appendText(reply, "CHAP_C", formatBinary(ours.text)), nil
}

// verify checks the initiator's answer, once for a challenge, and answers its own challenge if it sent one.
func (l *login) verify(values map[string]string, reply []byte) ([]byte, error) {
	ours := l.auth.ours
	l.auth.ours = challenge{}
	if ours.hash == nil {
		return nil, refuse(statusAuthFailed, "CHAP_R without a challenge")
	}
	response, err := parseBinary(values["CHAP_R"])
	if err != nil {
		return nil, refuse(statusAuthFailed, "CHAP_R: %w", err)
	}
	var proven []*export
	for _, e := range l.candidates() {
		if access := e.access.Load(); !access.Open && ours.proves(access.CHAP, values["CHAP_N"], response) {
			proven = append(proven, e)
		}
	}
	if len(proven) == 0 {
		return nil, refuse(statusAuthFailed, "CHAP: wrong user or secret")
	}
	if values["CHAP_I"] != "" || values["CHAP_C"] != "" {
		if reply, err = l.proveOurselves(proven[0], ours, values, reply); err != nil {
			return nil, err
		}
	}
	l.auth.reachable, l.auth.passed = proven, true
	return reply, nil
}

func (l *login) proveOurselves(e *export, ours challenge, values map[string]string, reply []byte) ([]byte, error) {
	mutual := e.access.Load().Mutual
	if mutual.Secret == "" {
		return nil, refuse(statusAuthFailed, "the initiator wants mutual CHAP, and none is set")
	}
	theirs, err := mutualChallenge(ours, values["CHAP_I"], values["CHAP_C"])
	if err != nil {
		return nil, refuse(statusAuthFailed, "%w", err)
	}
	reply = appendText(reply, "CHAP_N", mutual.User)
	return appendText(reply, "CHAP_R", formatBinary(theirs.answer(mutual.Secret))), nil
}
