package iscsi

import (
	"bufio"
	"bytes"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"
)

// FuzzLogin sends any bytes to a target that wants CHAP: nothing panics, nobody gets in, and all is answered or cut.
func FuzzLogin(f *testing.F) {
	var h header
	h[0], h[1] = opLogin|immediateBit, finalBit|stageFull
	data := text("InitiatorName="+testInitiator, "TargetName="+testIQN, "AuthMethod=CHAP,None", "CHAP_A=5", "CHAP_N=attachment", "CHAP_R=0x00")
	h.setDataBytes(len(data))
	f.Add(append(h[:], data...))
	h[1] = finalBit | stageOperational<<2 | stageFull
	f.Add(append(h[:], data...))
	s := NewServer(Config{Log: slog.New(slog.DiscardHandler)})
	f.Cleanup(func() { s.Close() })
	if err := s.Export(f.Context(), guarded(memory())); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		conn := newScript(wire)
		if one, err := newLogin(s, conn).run(); err == nil {
			t.Fatalf("session %d for who knows no secret", one.tsih)
		}
	})
}

// FuzzSession sends any bytes in full feature phase.
func FuzzSession(f *testing.F) {
	var h header
	h[0], h[1] = opCommand, finalBit|writeBit
	h.setWord(20, 512)
	h.setWord(24, 1)
	copy(h[32:], write10(0, 1))
	h.setDataBytes(512)
	f.Add(append(h[:], make([]byte, 512)...), false)
	for _, opcode := range []byte{opNopOut, opTask, opText, opDataOut, opLogout, opSNACK, opLogin} {
		h = header{opcode, finalBit | 1}
		h.setWord(20, noTag)
		h.setWord(24, 1)
		f.Add(h[:], false)
	}
	s := NewServer(Config{Log: slog.New(slog.DiscardHandler)})
	f.Cleanup(func() { s.Close() })
	target := guarded(memory())
	target.CHAP, target.Mutual, target.Open = CHAP{}, CHAP{}, true
	if err := s.Export(f.Context(), target); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, wire []byte, digests bool) {
		var h header
		h[0], h[1] = opLogin|immediateBit, finalBit|stageOperational<<2|stageFull
		h.setWord(24, 1)
		keys := []string{"InitiatorName=" + testInitiator, "TargetName=" + testIQN}
		if digests {
			keys = append(keys, "HeaderDigest=CRC32C", "DataDigest=CRC32C")
		}
		data := text(keys...)
		h.setDataBytes(len(data))
		first := append(append(h[:], data...), make([]byte, -len(data)&3)...)
		one, err := newLogin(s, newScript(append(first, wire...))).run()
		if err != nil {
			t.Fatal(err)
		}
		_ = one.run()
	})
}

// FuzzText takes text apart and negotiates every pair of it.
func FuzzText(f *testing.F) {
	f.Add(text("MaxBurstLength=0x1000", "HeaderDigest=None,CRC32C", "InitialR2T=Yes", "CHAP_C=0b AAAA"))
	f.Fuzz(func(t *testing.T, data []byte) {
		pairs, err := parseText(data)
		if err != nil {
			return
		}
		p := defaults()
		for _, one := range pairs {
			_, _ = p.answer(one.key, one.value)
			_, _ = parseBinary(one.value)
			_, _ = mutualChallenge(challenge{}, one.key, one.value)
		}
		if p.sendMax < 512 || p.sendMax >= 1<<24 || p.burstMax < 512 || p.burstMax > burstBytesMax || p.firstBurst < 512 {
			t.Fatalf("%+v of %q", p, data)
		}
	})
}

// FuzzPDU reads PDUs of any shape with both kinds of digest.
func FuzzPDU(f *testing.F) {
	f.Add(make([]byte, 200), false, false)
	f.Fuzz(func(t *testing.T, wire []byte, headerDigest, dataDigest bool) {
		r := pduReader{in: bufio.NewReader(bytes.NewReader(wire)), headerDigest: headerDigest, dataDigest: dataDigest, dataMax: dataBytesMax}
		for {
			var h header
			if r.header(&h) != nil {
				return
			}
			if h[0]&1 == 0 {
				if r.discard(&h) != nil {
					return
				}
			} else if r.data(make([]byte, h.dataBytes())) != nil {
				return
			}
		}
	})
}

// script is a connection whose other end says what it says, and listens to nothing.
type script struct {
	*bytes.Reader
	closed chan struct{}
}

func newScript(wire []byte) *script { return &script{bytes.NewReader(wire), make(chan struct{})} }

func (s *script) Read(p []byte) (int, error) {
	select {
	case <-s.closed:
		return 0, net.ErrClosed
	default:
	}
	n, err := s.Reader.Read(p)
	if err != nil {
		return n, io.EOF
	}
	return n, nil
}

func (s *script) WriteTo(io.Writer) (int64, error) { return 0, io.EOF }
func (s *script) Write(p []byte) (int, error)      { return len(p), nil }
func (s *script) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *script) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

func (s *script) Close() error {
	select {
	case <-s.closed:
	default:
		close(s.closed)
	}
	return nil
}
