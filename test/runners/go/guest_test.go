package guest

import (
	"os"
	"testing"
)

func TestGuest(t *testing.T) {
	if os.Getenv("IN_KTEST") != "true" || os.Getppid() != 1 || os.Getuid() != 0 {
		t.Error("not in a guest")
	}
}

func TestData(t *testing.T) {
	if data, err := os.ReadFile("testdata/word"); err != nil {
		t.Error(err)
	} else if string(data) != "word\n" {
		t.Errorf("testdata/word is %q", data)
	}
}
