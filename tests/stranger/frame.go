package main

import (
	"crypto/ed25519"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	domain        = "magpie/frame/1\x00"
	maxFrameBytes = 8192
	kindReadings  = 2
	flagMissing   = 9
)

// Frame is what a frame says. Readings are there where the kind is 2.
type Frame struct {
	Node     string    `json:"node"`
	Epoch    string    `json:"epoch"`
	Seq      uint64    `json:"seq"`
	Kind     uint64    `json:"kind"`
	Readings []Reading `json:"readings"`
}

// Reading is one value of a frame; Value is nil where it is missing.
type Reading struct {
	Sensor   byte     `json:"sensor"`
	Quantity uint64   `json:"quantity"`
	Reason   byte     `json:"reason"`
	Flag     byte     `json:"flag"`
	Value    *float32 `json:"value"`
	Raw      *float32 `json:"raw"`
}

// verifiedFrame reads a frame whose signature is right.
func verifiedFrame(data []byte) (Frame, error) {
	if len(data) > maxFrameBytes || len(data) < 1+ed25519.PublicKeySize+ed25519.SignatureSize {
		return Frame{}, fmt.Errorf("%d bytes are no frame", len(data))
	}
	if data[0] != 1 {
		return Frame{}, fmt.Errorf("version %d is not known", data[0])
	}
	signed, signature := data[:len(data)-ed25519.SignatureSize], data[len(data)-ed25519.SignatureSize:]
	fields := fields{rest: signed[1:]}
	key := ed25519.PublicKey(fields.take(ed25519.PublicKeySize))
	if !ed25519.Verify(key, append([]byte(domain), signed...), signature) {
		return Frame{}, errors.New("the signature is not the node's")
	}

	frame := Frame{Epoch: hex.EncodeToString(fields.take(8)), Seq: fields.varint(64)}
	fields.take(8)    // boot
	fields.varint(64) // uptime
	fields.varint(64) // time
	fields.take(1)    // clock
	frame.Kind = fields.varint(16)
	payload := fields.take(fields.varint(64))
	if err := fields.end(); err != nil {
		return Frame{}, err
	}
	public, err := crypto.UnmarshalEd25519PublicKey(key)
	if err != nil {
		return Frame{}, err
	}
	id, err := peer.IDFromPublicKey(public)
	if err != nil {
		return Frame{}, err
	}
	frame.Node = id.String()
	if frame.Kind == kindReadings {
		frame.Readings, err = readings(payload)
	}
	return frame, err
}

func readings(payload []byte) ([]Reading, error) {
	fields := fields{rest: payload}
	fields.varint(64) // announcement
	list := []Reading{}
	for range fields.count(255) {
		reading := Reading{Sensor: fields.u8(), Quantity: fields.varint(16)}
		status := fields.u8()
		reading.Reason, reading.Flag = fields.u8(), status&0x0f
		if status&^0x1f != 0 {
			return nil, fmt.Errorf("reserved bits of a status are set: %#02x", status)
		}
		if reading.Flag != flagMissing {
			reading.Value = fields.float()
		}
		if status&0x10 != 0 {
			reading.Raw = fields.float()
		}
		list = append(list, reading)
	}
	return list, fields.end()
}

// fields takes fields off the front of some bytes. After the first that is not there or not well formed, all are zero,
// and end says why.
type fields struct {
	rest []byte
	err  error
}

func (f *fields) take(count uint64) []byte {
	if f.err == nil && count > uint64(len(f.rest)) {
		f.err = errors.New("cut short")
	}
	if f.err != nil {
		return make([]byte, min(count, maxFrameBytes))
	}
	taken := f.rest[:count]
	f.rest = f.rest[count:]
	return taken
}

func (f *fields) u8() byte {
	return f.take(1)[0]
}

func (f *fields) varint(bits uint) uint64 {
	value, length := binary.Uvarint(f.rest)
	if f.err == nil && (length <= 0 || length > 1 && f.rest[length-1] == 0 || bits < 64 && value>>bits != 0) {
		f.err = errors.New("no varint of its size in its shortest form")
	}
	if f.err != nil {
		return 0
	}
	f.rest = f.rest[length:]
	return value
}

func (f *fields) count(most uint64) uint64 {
	count := f.varint(64)
	if f.err == nil && count > most {
		f.err = fmt.Errorf("a list of %d where %d are allowed", count, most)
	}
	if f.err != nil {
		return 0
	}
	return count
}

func (f *fields) float() *float32 {
	value := math.Float32frombits(binary.LittleEndian.Uint32(f.take(4)))
	if f.err == nil && (math.IsNaN(float64(value)) || math.IsInf(float64(value), 0)) {
		f.err = errors.New("a value is not finite")
	}
	return &value
}

func (f *fields) end() error {
	if f.err == nil && len(f.rest) > 0 {
		return fmt.Errorf("%d bytes too many", len(f.rest))
	}
	return f.err
}
