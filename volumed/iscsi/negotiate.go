package iscsi

import (
	"strconv"
	"strings"

	"henge/internal/errs"
)

// params are what a session runs by.
type params struct {
	headerDigest bool
	dataDigest   bool
	immediate    bool // data may come with the command
	sendMax      int  // MaxRecvDataSegmentLength that the initiator declared
	burstMax     int
	firstBurst   int
}

// What the target would like; the result of a negotiation is never more.
const (
	burstBytesMax      = 1 << 20
	firstBurstBytesMax = dataBytesMax
)

// defaults are RFC 7143's, which hold for keys that nobody mentions.
func defaults() params {
	return params{immediate: true, sendMax: 8192, burstMax: 262144, firstBurst: 65536}
}

// finish makes the parameters fit each other.
func (p *params) finish() { p.firstBurst = min(p.firstBurst, p.burstMax) }

const (
	yes           = "Yes"
	no            = "No"
	reject        = "Reject"
	notUnderstood = "NotUnderstood"
	irrelevant    = "Irrelevant"
)

// answer negotiates one operational key. value is what to answer; an empty one means that the key is only declared, and no answer is due.
func (p *params) answer(key, offer string) (value string, err error) {
	switch key {
	case "HeaderDigest":
		return chooseDigest(offer, &p.headerDigest)
	case "DataDigest":
		return chooseDigest(offer, &p.dataDigest)
	case "MaxRecvDataSegmentLength":
		return "", p.number(key, offer, 512, 1<<24-1, &p.sendMax)
	case "MaxBurstLength":
		return p.smaller(key, offer, burstBytesMax, &p.burstMax)
	case "FirstBurstLength":
		return p.smaller(key, offer, firstBurstBytesMax, &p.firstBurst)
	case "ImmediateData":
		p.immediate = offer == yes
		return boolean(key, offer, p.immediate)
	case "InitialR2T", "DataPDUInOrder", "DataSequenceInOrder":
		// The outcome of these is the OR of both sides, and our side says yes.
		return boolean(key, offer, true)
	case "IFMarker", "OFMarker":
		return boolean(key, offer, false)
	case "MaxConnections", "MaxOutstandingR2T":
		return one(key, offer, 1, 65535, "1")
	case "iSCSIProtocolLevel":
		return one(key, offer, 0, 31, "1")
	case "ErrorRecoveryLevel":
		return one(key, offer, 0, 2, "0")
	case "DefaultTime2Retain":
		return one(key, offer, 0, 3600, "0")
	case "DefaultTime2Wait":
		return one(key, offer, 0, 3600, offer)
	case "TaskReporting":
		return "RFC3720", nil
	case "OFMarkInt", "IFMarkInt":
		return irrelevant, nil
	case "InitiatorAlias":
		return "", nil
	}
	return notUnderstood, nil
}

func refused(key, offer, want string) error {
	return errs.New(errs.Invalid, "%s=%.40s: want %s", key, offer, want)
}

func boolean(key, offer string, result bool) (string, error) {
	if offer != yes && offer != no {
		return reject, refused(key, offer, "Yes or No")
	}
	if result {
		return yes, nil
	}
	return no, nil
}

func (p *params) number(key, offer string, low, high uint64, into *int) error {
	n, ok := parseNumber(offer, low, high)
	if !ok {
		return refused(key, offer, strconv.FormatUint(low, 10)+" to "+strconv.FormatUint(high, 10))
	}
	*into = int(n)
	return nil
}

// smaller is for keys whose outcome is the minimum of both sides.
func (p *params) smaller(key, offer string, ours int, into *int) (string, error) {
	if err := p.number(key, offer, 512, 1<<24-1, into); err != nil {
		return reject, err
	}
	*into = min(*into, ours)
	return strconv.Itoa(*into), nil
}

// one is for keys with a range of which we can do only one value.
func one(key, offer string, low, high uint64, value string) (string, error) {
	if _, ok := parseNumber(offer, low, high); !ok {
		return reject, refused(key, offer, strconv.FormatUint(low, 10)+" to "+strconv.FormatUint(high, 10))
	}
	return value, nil
}

// chooseDigest takes the first of the initiator's list that we know.
func chooseDigest(offer string, on *bool) (string, error) {
	for choice := range strings.SplitSeq(offer, ",") {
		switch choice {
		case "CRC32C":
			*on = true
			return choice, nil
		case "None":
			*on = false
			return choice, nil
		}
	}
	return reject, refused("digest", offer, "CRC32C or None in the list")
}
