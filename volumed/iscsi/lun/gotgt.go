package lun

import (
	"encoding/binary"
	"sync"

	"github.com/gostor/gotgt/pkg/api"
	"github.com/gostor/gotgt/pkg/scsi"
	"github.com/sirupsen/logrus"

	"henge/internal/errs"
)

// foreign is gotgt's device for this unit: its tables answer what a disk says of itself. Only commands that touch no data and no reservation go
// there, with buffers that are always large enough, so that none of its known faults can be reached: it is given the whole answer to write, and we cut it.
type foreign struct {
	device scsi.SBCSCSIDeviceProtocol

	mu     sync.Mutex // gotgt has no locks of its own
	lu     *api.SCSILu
	target *api.SCSITarget
}

const foreignBytesMax = 512

// modePage is a page with its current and its changeable values.
func modePage(code byte, current, changeable []byte) api.ModePage {
	return api.ModePage{PageCode: code, Size: uint8(len(current)), Data: append(append([]byte{}, current...), changeable...)}
}

// newForeign builds the device without any of gotgt's globals.
func newForeign(u *Unit) (*foreign, error) {
	// It logs what initiators do wrong, to standard error. That is theirs to know, not ours.
	logrus.SetLevel(logrus.PanicLevel)
	device, ok := scsi.NewSBCDevice(api.TYPE_DISK).(scsi.SBCSCSIDeviceProtocol)
	if !ok {
		return nil, errs.New(errs.Internal, "gotgt's disk is not what it was")
	}
	lu := &api.SCSILu{BlockShift: u.shift, Size: u.blocks.Load() << u.shift, DeviceProtocol: device}
	if err := device.InitLu(lu); err != nil {
		return nil, errs.New(errs.Internal, "initialise gotgt's disk: %w", err)
	}
	lu.Attrs.Online, lu.Attrs.ThinProvisioning = true, true
	lu.Attrs.VendorID, lu.Attrs.ProductID, lu.Attrs.ProductRev = vendor, product, revision
	lu.Attrs.Lbppbe = 12 - int(u.shift)
	lu.Attrs.VersionDesction = [8]uint16{0x0060, 0x0960, 0x0300, 0x04c0} // SAM-3, iSCSI, SPC-3, SBC-3
	lu.Attrs.Readonly = u.readOnly
	lu.ModePages = []api.ModePage{
		modePage(0x02, []byte{0x80, 0x80, 0, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, make([]byte, 14)),
		modePage(0x08, []byte{0x04, 0, 0xff, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x80, 0x14, 0, 0, 0, 0, 0, 0}, make([]byte, 18)),
		modePage(controlPage, []byte{2, 0x10, 0, 0, 0, 0, 0, 0, 2, 0}, []byte{0, 0, swpBit, 0, 0, 0, 0, 0, 0, 0}),
		modePage(0x1c, []byte{8, 0, 0, 0, 0, 0, 0, 0, 0, 0}, make([]byte, 10)),
	}
	target := &api.SCSITarget{Name: u.name, Devices: api.LUNMap{0: lu}}
	f := &foreign{device: device, lu: lu, target: target}
	f.resize(u.blocks.Load())
	return f, nil
}

const (
	vendor   = "HENGE"
	product  = "VOLUME"
	revision = "1"

	controlPage = 0x0a
	swpBit      = 0x08
)

// resize is told of a new length.
func (f *foreign) resize(blocks uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lu.Size = blocks << f.lu.BlockShift
	descriptor := make([]byte, 8)
	binary.BigEndian.PutUint32(descriptor, uint32(min(blocks, 0xffffffff)))
	binary.BigEndian.PutUint32(descriptor[4:], 1<<f.lu.BlockShift)
	f.lu.ModeBlockDescriptor = descriptor
}

// protect sets the software write protect bit of the control page.
func (f *foreign) protect(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lu.Attrs.SWP = on
	for _, page := range f.lu.ModePages {
		if page.PageCode == controlPage {
			page.Data[2] &^= swpBit
			if on {
				page.Data[2] |= swpBit
			}
		}
	}
}

// answer lets gotgt write its answer to cdb. The allocation length in cdb must be large enough for all of it.
func (f *foreign) answer(cdb [16]byte) (data []byte, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	cmd := &api.SCSICommand{OpCode: cdb[0], SCB: cdb[:], SCBLength: len(cdb), Target: f.target, Device: f.lu, RelTargetPortID: relativePort,
		InSDBBuffer: &api.SCSIDataBuffer{Buffer: make([]byte, foreignBytesMax), Length: foreignBytesMax}, OutSDBBuffer: &api.SCSIDataBuffer{}}
	status := f.device.SCSIDeviceOps[cdb[0]].CommandPerformFunc(0, cmd)
	return cmd.InSDBBuffer.Buffer, status.Stat == api.SAM_STAT_GOOD
}
