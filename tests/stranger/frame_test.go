package main

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// The golden frames read as their .json says, and with any bit of them changed they are refused.
func TestGoldenFrames(t *testing.T) {
	files, err := filepath.Glob("../../reading/tests/golden/*.hex")
	if err != nil || len(files) < 5 {
		t.Fatalf("golden frames are missing: %v, %v", files, err)
	}
	for _, file := range files {
		data := golden(t, file)
		frame, err := verifiedFrame(data)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if want := described(t, strings.TrimSuffix(file, "hex")+"json"); !reflect.DeepEqual(frame, want) {
			t.Errorf("%s reads as %+v instead of %+v", file, frame, want)
		}
		for bit := range len(data) * 8 {
			data[bit/8] ^= 1 << (bit % 8)
			if _, err := verifiedFrame(data); err == nil {
				t.Errorf("%s: a change of bit %d was not noticed", file, bit)
			}
			data[bit/8] ^= 1 << (bit % 8)
		}
	}
}

func golden(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func described(t *testing.T, file string) Frame {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// There the readings lie one level down.
	var described struct {
		Frame
		Readings struct{ Readings []Reading } `json:"readings"`
	}
	if err := json.Unmarshal(text, &described); err != nil {
		t.Fatal(err)
	}
	frame := described.Frame
	frame.Readings = described.Readings.Readings
	return frame
}
